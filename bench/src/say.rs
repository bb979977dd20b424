//! What the program says while it measures, and in the end.

#[expect(clippy::print_stderr, reason = "how far it is")]
pub(crate) fn eprintln(text: &str) {
    std::eprintln!("{text}");
}

#[expect(clippy::print_stdout, reason = "the result")]
pub(crate) fn println(text: &str) {
    std::println!("{text}");
}
