//! Values that ask for a protection which this release does not give. Ignoring them with a warning would leave
//! somebody less safe than they believe, so each is an error that says what is missing.

/// Why `value` of `key` cannot be honoured, if it asks for something. A key of one listener
/// (`listener.name.<listener>.<key>`) counts as the key itself.
pub(super) fn refuse(key: &str, value: &str) -> Option<String> {
    let key = key
        .strip_prefix("listener.name.")
        .and_then(|rest| rest.split_once('.'))
        .map_or(key, |(_, tail)| tail);
    let set = !value.is_empty();
    let is = |word: &str| value.eq_ignore_ascii_case(word);
    match key {
        "ssl.client.auth" if !is("none") => refusal(
            "this release has no TLS, so it cannot ask clients for a certificate; set it to `none` and keep the \
             listeners on loopback",
        ),
        "security.inter.broker.protocol" if !is("PLAINTEXT") => refusal(
            "this release speaks PLAINTEXT only; remove the setting and keep the listeners on loopback",
        ),
        "authorizer.class.name" | "super.users" if set => refusal(
            "this release has no access control: everybody who connects may do everything; remove the setting and keep \
             the listeners on loopback",
        ),
        "principal.builder.class" if set && !value.ends_with(".DefaultKafkaPrincipalBuilder") => {
            refusal("this release has no principals, so it cannot tell clients apart; remove the setting")
        }
        "create.topic.policy.class.name"
        | "alter.config.policy.class.name"
        | "client.quota.callback.class"
            if set =>
        {
            refusal("a Java class cannot be loaded, so its policy would not be kept; remove the setting")
        }
        "delete.topic.enable" if is("false") => {
            refusal("this release does not keep topics from being deleted; remove the setting")
        }
        "config.providers" if set => refusal(
            "this release does not fetch values from providers, so ${...} would be taken literally; write the values \
             themselves, or set them in the environment",
        ),
        "remote.log.storage.system.enable" if is("true") => {
            refusal("this release has no tiered storage; set it to `false`")
        }
        "controller.quorum.bootstrap.servers" if value.contains(',') => refusal(
            "this release finds the controllers by controller.quorum.voters; list them there as id@host:port",
        ),
        _ => None,
    }
}

fn refusal(why: &str) -> Option<String> {
    Some(why.to_owned())
}
