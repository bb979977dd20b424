//! What the derive writes: `Default`, `Wire` and `Message` for one parsed struct. Every generated line is a call into
//! `seedlog_core::wire`, so that limits and errors have one home; the attributes' meaning is in `attrs`.

use crate::attrs::{Container, Field, FieldDefault, Versions};
use proc_macro2::TokenStream;
use quote::quote;

/// All implementations for one struct.
pub(crate) fn expand(container: &Container) -> TokenStream {
    let default = default_impl(container);
    let wire = wire_impl(container);
    let message = message_impl(container);
    quote! { #default #wire #message }
}

fn default_impl(container: &Container) -> TokenStream {
    let ident = &container.ident;
    let names = container.fields.iter().map(|field| &field.ident);
    let values = container.fields.iter().map(|field| match field.optional {
        Some(_) => quote!(::core::option::Option::None),
        None => default_value(field),
    });
    quote! {
        #[automatically_derived]
        impl ::core::default::Default for #ident {
            fn default() -> Self {
                Self { #(#names: #values),* }
            }
        }
    }
}

fn message_impl(container: &Container) -> TokenStream {
    let Some(versions) = container.versions else { return TokenStream::new() };
    let ident = &container.ident;
    let versions = range(versions);
    let flexible = range(container.flexible);
    let api = container.key.map(|key| {
        quote! {
            #[automatically_derived]
            impl ::seedlog_core::wire::ApiMessage for #ident {
                const KEY: i16 = #key;
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::seedlog_core::wire::Message for #ident {
            const VERSIONS: ::seedlog_core::wire::VersionRange = #versions;
            const FLEXIBLE: ::seedlog_core::wire::VersionRange = #flexible;
        }
        #api
    }
}

fn wire_impl(container: &Container) -> TokenStream {
    let ident = &container.ident;
    let name = ident.to_string();
    let schema = container.fields.iter().map(field_schema);
    let min_size = container.fields.iter().map(field_min_size);
    let decode = decode_body(container);
    let encode = encode_body(container);
    quote! {
        #[automatically_derived]
        impl ::seedlog_core::wire::Wire for #ident {
            const SCHEMA: &'static ::seedlog_core::wire::StructSchema = &::seedlog_core::wire::StructSchema {
                name: #name,
                fields: &[#(#schema),*],
            };

            fn size_min(version: i16, flexible: bool) -> usize {
                let _ = version;
                let mut size = usize::from(flexible);
                #(#min_size)*
                size
            }

            fn decode(
                input: &mut ::seedlog_core::wire::Decoder,
            ) -> ::core::result::Result<Self, ::seedlog_core::wire::WireError> {
                let version = input.version();
                let _ = version;
                #decode
            }

            fn encode(
                &self,
                out: &mut ::seedlog_core::wire::Encoder,
            ) -> ::core::result::Result<(), ::seedlog_core::wire::WireError> {
                let version = out.version();
                let _ = version;
                #encode
            }
        }
    }
}

fn decode_body(container: &Container) -> TokenStream {
    let plain = container.fields.iter().map(|field| decode_field(container, field));
    let names = container.fields.iter().map(|field| &field.ident);
    let arms = container.fields.iter().filter_map(|field| {
        let (tag, tagged) = field.tag?;
        let guard = condition(tagged).map(|condition| quote!(if #condition));
        let at = at(container, field, &quote!(input));
        let ident = &field.ident;
        let value = decode_value(field);
        Some(quote!(#tag #guard => { #at #ident = #value; }))
    });
    let arms: Vec<_> = arms.collect();
    let tags = if arms.is_empty() {
        quote!(input.skip_tagged_fields()?;)
    } else {
        quote! {
            let mut tags = input.open_tagged_fields()?;
            while let ::core::option::Option::Some(tag) = input.open_tag(&mut tags)? {
                match tag {
                    #(#arms)*
                    _ => input.skip_tag(&tags),
                }
                input.close_tag(&tags)?;
            }
        }
    };
    quote! {
        #(#plain)*
        if input.flexible() {
            #tags
        }
        ::core::result::Result::Ok(Self { #(#names),* })
    }
}

/// `let field = ...;` for the untagged part: read it, or its default where the version lacks it or sends it tagged.
fn decode_field(container: &Container, field: &Field) -> TokenStream {
    let ident = &field.ident;
    let ty = &field.ty;
    let at = at(container, field, &quote!(input));
    let value = decode_value(field);
    let default = wire_default(field);
    let mutable = field.tag.map(|_| quote!(mut));
    let read = match plain_condition(field) {
        Presence::Always => quote!({ #at #value }),
        Presence::Never => default,
        Presence::If(condition) => quote!(if #condition { #at #value } else { #default }),
    };
    quote!(let #mutable #ident: #ty = #read;)
}

fn decode_value(field: &Field) -> TokenStream {
    let read = match &field.optional {
        None => quote!(::seedlog_core::wire::Field::decode(input)?),
        Some(inner) => {
            let nullable = quote!(<#inner as ::seedlog_core::wire::Nullable>::decode_nullable(input)?);
            let plain =
                quote!(::core::option::Option::Some(<#inner as ::seedlog_core::wire::Field>::decode(input)?));
            match condition(field.nullable) {
                None => nullable,
                Some(condition) => quote!(if #condition { #nullable } else { #plain }),
            }
        }
    };
    if field.inflexible {
        quote!({
            let flexible = input.set_flexible(false);
            let value = #read;
            input.set_flexible(flexible);
            value
        })
    } else {
        read
    }
}

fn encode_body(container: &Container) -> TokenStream {
    let plain = container.fields.iter().map(|field| encode_field(container, field));
    let mut tagged: Vec<_> = container
        .fields
        .iter()
        .filter_map(|field| field.tag.map(|(tag, versions)| (tag, versions, field)))
        .collect();
    tagged.sort_by_key(|&(tag, _, _)| tag);
    let tags = if tagged.is_empty() {
        quote!(out.put_unsigned_varint(0);)
    } else {
        let present: Vec<_> = tagged
            .iter()
            .map(|&(_, versions, field)| {
                let differs = differs_from_default(field);
                match condition(versions) {
                    None => differs,
                    Some(condition) => quote!((#condition) && #differs),
                }
            })
            .collect();
        let writes = tagged.iter().zip(&present).map(|(&(tag, _, field), present)| {
            let at = at(container, field, &quote!(out));
            let value = encode_value(field);
            quote!(if #present { #at out.put_tagged(#tag, |out| { #value ::core::result::Result::Ok(()) })?; })
        });
        quote! {
            let mut tags = 0_u32;
            #(tags += u32::from(#present);)*
            out.put_unsigned_varint(tags);
            #(#writes)*
        }
    };
    quote! {
        #(#plain)*
        if out.flexible() {
            #tags
        }
        ::core::result::Result::Ok(())
    }
}

/// Writes the untagged part of one field, or refuses a value that the version cannot carry.
fn encode_field(container: &Container, field: &Field) -> TokenStream {
    let at = at(container, field, &quote!(out));
    let value = encode_value(field);
    let write = match plain_condition(field) {
        Presence::Always => quote!(#at #value),
        Presence::Never => TokenStream::new(),
        Presence::If(condition) => quote!(if #condition { #at #value }),
    };
    let lost = match condition(field.versions) {
        Some(condition) if !field.ignorable => {
            let differs = differs_from_default(field);
            let not_null = field.optional.as_ref().map(|_| {
                let ident = &field.ident;
                quote!(&& self.#ident.is_some())
            });
            quote!(if !(#condition) && #differs #not_null {
                #at
                return ::core::result::Result::Err(out.not_in_this_version());
            })
        }
        Some(_) | None => TokenStream::new(),
    };
    quote!(#write #lost)
}

fn encode_value(field: &Field) -> TokenStream {
    let ident = &field.ident;
    let write = match &field.optional {
        None => quote!(::seedlog_core::wire::Field::encode(&self.#ident, out)?;),
        Some(inner) => {
            let nullable = quote!(<#inner as ::seedlog_core::wire::Nullable>::encode_nullable(self.#ident.as_ref(), out)?;);
            let plain = quote!(out.put_not_null(self.#ident.as_ref())?;);
            match condition(field.nullable) {
                None => nullable,
                Some(condition) => quote!(if #condition { #nullable } else { #plain }),
            }
        }
    };
    if field.inflexible {
        quote! {
            let flexible = out.set_flexible(false);
            #write
            out.set_flexible(flexible);
        }
    } else {
        write
    }
}

fn field_min_size(field: &Field) -> TokenStream {
    let add = match &field.optional {
        None => {
            let ty = &field.ty;
            quote!(size += <#ty as ::seedlog_core::wire::Field>::size_min(version, flexible);)
        }
        Some(inner) => {
            quote!(size += <#inner as ::seedlog_core::wire::Nullable>::nullable_size_min(version, flexible);)
        }
    };
    let add = if field.inflexible { quote!({ let flexible = false; #add }) } else { add };
    match plain_condition(field) {
        Presence::Always => add,
        Presence::Never => TokenStream::new(),
        Presence::If(condition) => quote!(if #condition { #add }),
    }
}

fn field_schema(field: &Field) -> TokenStream {
    let name = &field.name;
    let value = field.optional.as_ref().unwrap_or(&field.ty);
    let versions = range(field.versions);
    let nullable = range(field.nullable);
    let tag = match field.tag {
        None => quote!(::core::option::Option::None),
        Some((tag, versions)) => {
            let versions = range(versions);
            quote!(::core::option::Option::Some((#tag, #versions)))
        }
    };
    let default = match &field.default {
        FieldDefault::Zero => quote!(::seedlog_core::wire::DefaultValue::Zero),
        FieldDefault::Null => quote!(::seedlog_core::wire::DefaultValue::Null),
        FieldDefault::Value(value) => quote!(::seedlog_core::wire::DefaultValue::Number((#value) as i64)),
    };
    let ignorable = field.ignorable;
    let inflexible = field.inflexible;
    quote! {
        ::seedlog_core::wire::FieldSchema {
            name: #name,
            kind: <#value as ::seedlog_core::wire::Field>::KIND,
            versions: #versions,
            nullable: #nullable,
            tag: #tag,
            default: #default,
            ignorable: #ignorable,
            inflexible: #inflexible,
        }
    }
}

/// In which versions a field stands in the fixed part of its struct.
enum Presence {
    Always,
    Never,
    If(TokenStream),
}

fn plain_condition(field: &Field) -> Presence {
    let present = condition(field.versions);
    match field.tag {
        None => present.map_or(Presence::Always, Presence::If),
        Some((_, tagged)) if tagged.min <= field.versions.min && tagged.max >= field.versions.max => {
            Presence::Never
        }
        Some((_, tagged)) => {
            let tagged = condition(tagged);
            match (present, tagged) {
                (_, None) => Presence::Never,
                (None, Some(tagged)) => Presence::If(quote!(!(#tagged))),
                (Some(present), Some(tagged)) => Presence::If(quote!((#present) && !(#tagged))),
            }
        }
    }
}

/// A test of `version`; `None` if it always holds.
fn condition(versions: Versions) -> Option<TokenStream> {
    let Versions { min, max } = versions;
    match (min <= 0, max == i16::MAX) {
        (true, true) => None,
        (false, true) => Some(quote!(version >= #min)),
        (true, false) => Some(quote!(version <= #max)),
        (false, false) => Some(quote!((#min..=#max).contains(&version))),
    }
}

fn range(versions: Versions) -> TokenStream {
    let Versions { min, max } = versions;
    quote!(::seedlog_core::wire::VersionRange { min: #min, max: #max })
}

/// The value of a field that was not sent.
fn wire_default(field: &Field) -> TokenStream {
    let plain = default_value(field);
    match (&field.optional, &field.default) {
        (Some(_), FieldDefault::Null) => quote!(::core::option::Option::None),
        (Some(_), FieldDefault::Zero | FieldDefault::Value(_)) => {
            quote!(::core::option::Option::Some(#plain))
        }
        (None, _) => plain,
    }
}

fn default_value(field: &Field) -> TokenStream {
    match &field.default {
        FieldDefault::Zero | FieldDefault::Null => quote!(::core::default::Default::default()),
        FieldDefault::Value(value) => quote!(#value),
    }
}

fn differs_from_default(field: &Field) -> TokenStream {
    let ident = &field.ident;
    let ty = &field.ty;
    let default = wire_default(field);
    quote!((self.#ident != { let default: #ty = #default; default }))
}

/// Tells the decoder or encoder where it is, for the error it may have to build.
fn at(container: &Container, field: &Field, target: &TokenStream) -> TokenStream {
    let place = format!("{}.{}", container.ident, field.ident);
    quote!(#target.at_field(#place);)
}
