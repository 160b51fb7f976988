//! Reading an internally tagged enum without buffering it.
//!
//! Contract: the object's tag is its first member, as our writers put it; then every field is handed straight from the
//! parser to its type, so raw JSON passes through byte for byte. An object whose tag is elsewhere is read too, by way of
//! a copy.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::{EnumAccessDeserializer, MapAccessDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IntoDeserializer as _, MapAccess, Unexpected, VariantAccess,
    Visitor,
};
use serde_json::value::RawValue;

/// An enum that can be read with its variant's name outside its content.
pub(super) trait ByName: Sized {
    /// Reads the externally tagged form.
    fn by_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;
}

/// Reads an object whose member `tag` names the variant.
pub(super) fn deserialize<'de, T: ByName, D: Deserializer<'de>>(
    deserializer: D,
    tag: &'static str,
) -> Result<T, D::Error> {
    deserializer.deserialize_map(Object { tag, value: PhantomData })
}

struct Object<T> {
    tag: &'static str,
    value: PhantomData<T>,
}

impl<'de, T: ByName> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with member `{}`", self.tag)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let Some(first) = map.next_key::<String>()? else {
            return Err(A::Error::missing_field(self.tag));
        };
        if first == self.tag {
            let name = map.next_value()?;
            return T::by_name(EnumAccessDeserializer::new(Variant { name, fields: map }));
        }
        let mut members = BTreeMap::from([(first, map.next_value::<Box<RawValue>>()?)]);
        while let Some((name, value)) = map.next_entry()? {
            members.insert(name, value);
        }
        self.reordered(members).map_err(A::Error::custom)
    }
}

impl<T: ByName> Object<T> {
    fn reordered(self, mut members: BTreeMap<String, Box<RawValue>>) -> Result<T, serde_json::Error> {
        let tag = members.remove(self.tag).ok_or_else(|| serde_json::Error::missing_field(self.tag))?;
        let name = serde_json::from_str(tag.get())?;
        let fields = serde_json::to_string(&members)?;
        serde_json::Deserializer::from_str(&fields).deserialize_map(Fields { name, value: PhantomData })
    }
}

/// The members that are left when the tag is known.
struct Fields<T> {
    name: String,
    value: PhantomData<T>,
}

impl<'de, T: ByName> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::by_name(EnumAccessDeserializer::new(Variant { name: self.name, fields }))
    }
}

/// A variant's name, and its fields not yet read.
struct Variant<A> {
    name: String,
    fields: A,
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Variant<A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), A::Error> {
        let variant = seed.deserialize(self.name.as_str().into_deserializer())?;
        Ok((variant, self))
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Variant<A> {
    type Error = A::Error;

    fn unit_variant(mut self) -> Result<(), A::Error> {
        while self.fields.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        seed.deserialize(MapAccessDeserializer::new(self.fields))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, A::Error> {
        Err(A::Error::invalid_type(Unexpected::TupleVariant, &visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.fields)
    }
}
