//! The stored form of a wording. One that is callout's own has none.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contact::Channel;
use crate::wording::{Button, Template, WhatsappTemplate, Wording};

use super::forms::{Form, List, Maybe, Text};

/// A wording that somebody chose.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Wording")]
pub(super) struct WordingForm {
    #[serde(with = "Text::<Template>")]
    text: Template,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "TextsForm", rename = "texts")]
    text_by_channel: BTreeMap<Channel, Template>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "Maybe::<WhatsappTemplateForm>",
        rename = "whatsapp"
    )]
    whatsapp_template: Option<WhatsappTemplate>,
}

impl Form for WordingForm {
    type Of = Wording;

    fn serialize<S: Serializer>(value: &Wording, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Wording, D::Error> {
        Self::deserialize(deserializer)
    }
}

/// The texts of channels that have one of their own.
struct TextsForm;

impl TextsForm {
    fn serialize<S: Serializer>(texts: &BTreeMap<Channel, Template>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(texts.iter().map(|(channel, template)| (channel.name(), template.to_string())))
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Channel, Template>, D::Error> {
        use serde::de::Error;
        let texts = BTreeMap::<Box<str>, Box<str>>::deserialize(deserializer)?;
        let pair = |(channel, template): (Box<str>, Box<str>)| {
            let channel = channel.parse().map_err(D::Error::custom)?;
            Ok((channel, template.parse().map_err(D::Error::custom)?))
        };
        texts.into_iter().map(pair).collect()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WhatsappTemplate")]
struct WhatsappTemplateForm {
    name: Box<str>,
    locale: Box<str>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "List::<Text<Template>>")]
    parameters: Vec<Template>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "List::<ButtonForm>")]
    buttons: Vec<Button>,
}

impl Form for WhatsappTemplateForm {
    type Of = WhatsappTemplate;

    fn serialize<S: Serializer>(value: &WhatsappTemplate, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WhatsappTemplate, D::Error> {
        Self::deserialize(deserializer)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Button", rename_all = "snake_case")]
enum ButtonForm {
    Acknowledge,
    Next,
    Resolve,
}

impl Form for ButtonForm {
    type Of = Button;

    fn serialize<S: Serializer>(value: &Button, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(value, serializer)
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Button, D::Error> {
        Self::deserialize(deserializer)
    }
}
