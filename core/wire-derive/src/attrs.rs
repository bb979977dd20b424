//! What the attributes say: reads `#[wire(...)]` into plain values and refuses contradictions. Writes no code; that is
//! `expand`.

use syn::{
    Attribute, Data, DeriveInput, Error, Expr, Fields, GenericArgument, Ident, LitInt, LitStr, PathArguments,
    Result, Type, spanned::Spanned,
};

/// Versions from `min` to `max`, both included; `max` is `i16::MAX` for "3+".
#[derive(Clone, Copy)]
pub(crate) struct Versions {
    pub(crate) min: i16,
    pub(crate) max: i16,
}

/// What a field holds where nothing was sent.
pub(crate) enum FieldDefault {
    /// Zero, false, empty.
    Zero,
    /// Null.
    Null,
    /// This constant.
    Value(Expr),
}

/// One struct under the derive.
pub(crate) struct Container {
    pub(crate) ident: Ident,
    pub(crate) key: Option<i16>,
    /// Present on whole messages.
    pub(crate) versions: Option<Versions>,
    pub(crate) flexible: Versions,
    pub(crate) fields: Vec<Field>,
}

/// One of its fields.
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    /// The `T` of an `Option<T>`.
    pub(crate) optional: Option<Type>,
    /// Its name in the schema.
    pub(crate) name: String,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tag: Option<(u32, Versions)>,
    pub(crate) default: FieldDefault,
    pub(crate) ignorable: bool,
    pub(crate) inflexible: bool,
}

impl Versions {
    pub(crate) const ALL: Self = Self { min: 0, max: i16::MAX };
    pub(crate) const NONE: Self = Self { min: 0, max: -1 };

    fn parse(literal: &LitStr) -> Result<Self> {
        let text = literal.value();
        let wrong =
            || Error::new(literal.span(), "expected versions such as \"3+\", \"3-13\", \"3\" or \"none\"");
        let number = |part: &str| part.parse::<i16>().map_err(|_| wrong());
        if text == "none" {
            return Ok(Self::NONE);
        }
        let versions = if let Some(min) = text.strip_suffix('+') {
            Self { min: number(min)?, max: i16::MAX }
        } else if let Some((min, max)) = text.split_once('-') {
            Self { min: number(min)?, max: number(max)? }
        } else {
            Self { min: number(&text)?, max: number(&text)? }
        };
        if versions.min < 0 || versions.min > versions.max { Err(wrong()) } else { Ok(versions) }
    }

    pub(crate) fn is_none(self) -> bool {
        self.min > self.max
    }

    fn contains(self, other: Self) -> bool {
        other.is_none() || (self.min <= other.min && other.max <= self.max)
    }
}

impl Container {
    pub(crate) fn parse(input: &DeriveInput) -> Result<Self> {
        let Data::Struct(data) = &input.data else {
            return Err(Error::new(input.span(), "Wire is for structs"));
        };
        let Fields::Named(named) = &data.fields else {
            return Err(Error::new(input.span(), "Wire needs named fields"));
        };
        if !input.generics.params.is_empty() {
            return Err(Error::new(input.generics.span(), "Wire structs have no parameters"));
        }
        let mut container = Self {
            ident: input.ident.clone(),
            key: None,
            versions: None,
            flexible: Versions::NONE,
            fields: named.named.iter().map(Field::parse).collect::<Result<_>>()?,
        };
        for attribute in wire_attributes(&input.attrs) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("key") {
                    container.key = Some(meta.value()?.parse::<LitInt>()?.base10_parse()?);
                } else if meta.path.is_ident("versions") {
                    container.versions = Some(Versions::parse(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("flexible") {
                    container.flexible = Versions::parse(&meta.value()?.parse()?)?;
                } else {
                    return Err(meta.error("a struct knows key, versions and flexible"));
                }
                Ok(())
            })?;
        }
        if container.versions.is_none() && (container.key.is_some() || !container.flexible.is_none()) {
            return Err(Error::new(
                input.span(),
                "a message with a key or flexible versions must state its versions",
            ));
        }
        container.check_tags()?;
        Ok(container)
    }

    fn check_tags(&self) -> Result<()> {
        let mut seen = Vec::new();
        for field in &self.fields {
            if let Some((tag, _)) = field.tag {
                if seen.contains(&tag) {
                    return Err(Error::new(field.ident.span(), "this tag is taken"));
                }
                seen.push(tag);
            }
        }
        Ok(())
    }
}

impl Field {
    fn parse(field: &syn::Field) -> Result<Self> {
        let ident = field.ident.clone().ok_or_else(|| Error::new(field.span(), "Wire needs named fields"))?;
        let mut parsed = Self {
            name: ident.to_string(),
            ty: field.ty.clone(),
            optional: option_of(&field.ty).cloned(),
            ident,
            versions: Versions::ALL,
            nullable: Versions::NONE,
            tag: None,
            default: FieldDefault::Zero,
            ignorable: false,
            inflexible: false,
        };
        let mut tag = None;
        let mut tagged = None;
        for attribute in wire_attributes(&field.attrs) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("versions") {
                    parsed.versions = Versions::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("nullable") {
                    parsed.nullable = Versions::parse(&meta.value()?.parse()?)?;
                } else if meta.path.is_ident("tag") {
                    tag = Some(meta.value()?.parse::<LitInt>()?.base10_parse::<u32>()?);
                } else if meta.path.is_ident("tagged") {
                    tagged = Some(Versions::parse(&meta.value()?.parse()?)?);
                } else if meta.path.is_ident("default") {
                    parsed.default = parse_default(meta.value()?.parse()?);
                } else if meta.path.is_ident("ignorable") {
                    parsed.ignorable = true;
                } else if meta.path.is_ident("flexible") {
                    let versions = Versions::parse(&meta.value()?.parse()?)?;
                    if !versions.is_none() {
                        return Err(meta.error("a field may only opt out: flexible = \"none\""));
                    }
                    parsed.inflexible = true;
                } else if meta.path.is_ident("name") {
                    parsed.name = meta.value()?.parse::<LitStr>()?.value();
                } else {
                    return Err(meta.error("unknown wire attribute of a field"));
                }
                Ok(())
            })?;
        }
        parsed.tag = match (tag, tagged) {
            (Some(tag), Some(tagged)) => Some((tag, tagged)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Error::new(field.span(), "tag and tagged go together"));
            }
        };
        parsed.check(field)?;
        Ok(parsed)
    }

    fn check(&self, field: &syn::Field) -> Result<()> {
        if self.optional.is_some() == self.nullable.is_none() {
            return Err(Error::new(field.ty.span(), "nullable versions and Option go together"));
        }
        if matches!(self.default, FieldDefault::Null) && self.optional.is_none() {
            return Err(Error::new(field.ty.span(), "only an Option can be null by default"));
        }
        if let Some((_, tagged)) = self.tag
            && !self.versions.contains(tagged)
        {
            return Err(Error::new(field.span(), "tagged in a version that lacks the field"));
        }
        Ok(())
    }
}

fn parse_default(value: Expr) -> FieldDefault {
    if let Expr::Path(path) = &value
        && path.path.is_ident("null")
    {
        return FieldDefault::Null;
    }
    FieldDefault::Value(value)
}

fn wire_attributes(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("wire"))
}

/// The `T` if `ty` is written `Option<T>`.
fn option_of(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    if last.ident != "Option" {
        return None;
    }
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    let GenericArgument::Type(inner) = arguments.args.first()? else { return None };
    Some(inner)
}
