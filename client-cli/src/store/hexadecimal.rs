//! Secret bytes as text, for serde.

use data_encoding::HEXLOWER;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
use zeroize::Zeroizing;

pub(super) fn serialize<S: Serializer>(
    bytes: &Zeroizing<Vec<u8>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.serialize_str(&Zeroizing::new(HEXLOWER.encode(bytes)))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Zeroizing<Vec<u8>>, D::Error> {
    let text = Zeroizing::new(String::deserialize(from)?);
    let bytes = HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
    Ok(Zeroizing::new(bytes))
}
