//! `callout check`

use clap::Args;

use crate::config::{self, Environment, Integration, schedule};
use crate::http;
use crate::integrations::{Act, Notice, Posted, bounded};

use super::terminal::{complain, to_stderr, to_stdout};
use super::{ConfigArguments, DONE, MISCONFIGURED, complain_of};

#[derive(Clone, Debug, Default, Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    config: ConfigArguments,
    /// Show what this integration makes of a request, instead of who would be called.
    #[arg(long, value_name = "NAME", requires = "sample")]
    integration: Option<String>,
    /// The file with the body that the tool would post.
    #[arg(long, value_name = "FILE", requires = "integration")]
    sample: Option<String>,
}

pub(super) fn run(arguments: &CheckArguments, environment: &Environment) -> u8 {
    match config::load(&arguments.config.overrides(environment), environment) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                to_stderr(&format!("{warning}\n"));
            }
            if let (Some(name), Some(sample)) = (&arguments.integration, &arguments.sample) {
                return try_sample(&loaded.config.integrations, name, sample);
            }
            let lines = schedule::lines(&loaded.config.policies);
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let _read_or_not = to_stdout(&text);
            DONE
        }
        Err(problems) => complain_of(&problems),
    }
}

/// Prints what an integration would do with a file's content, without doing it.
fn try_sample(integrations: &[Integration], name: &str, sample: &str) -> u8 {
    let Some(integration) = integrations.iter().find(|integration| *integration.name == *name) else {
        let known: Vec<&str> = integrations.iter().map(|integration| &*integration.name).collect();
        let hint = match known.as_slice() {
            [] => "the configuration has no `integrations`".to_owned(),
            known => format!("the integrations are {}", known.join(", ")),
        };
        complain(&format!("no integration is called {name}"), Some(&hint));
        return MISCONFIGURED;
    };
    let body = match std::fs::read(sample) {
        Ok(body) => body,
        Err(error) => {
            complain(&format!("cannot read {sample}: {error}"), None);
            return MISCONFIGURED;
        }
    };
    match integration.form.read(Posted { body: &body, content_type: None, query: "" }) {
        Ok(notices) if notices.is_empty() => {
            let _read_or_not = to_stdout("nothing would be done\n");
            DONE
        }
        Ok(notices) => {
            let text: String = notices.into_iter().map(|notice| shown(integration, notice)).collect();
            let _read_or_not = to_stdout(&text);
            DONE
        }
        Err(unreadable) => {
            for reason in &unreadable.reasons {
                complain(&format!("{sample}: {reason}"), None);
            }
            MISCONFIGURED
        }
    }
}

fn shown(integration: &Integration, notice: Notice) -> String {
    let key = notice.key.as_deref().map(|key| http::dedup_key(&integration.name, key));
    let mut text = format!("{}\n", notice.act.name());
    let mut line = |name: &str, value: &str| text.push_str(&format!("  {name:<10} {value}\n"));
    line("dedup_key", key.as_deref().unwrap_or("none: each request raises an alert"));
    if notice.act == Act::Trigger {
        line("message", &notice.message.replace('\n', "\n             "));
        line("severity", notice.severity.name());
        line("policy", integration.policy.as_deref().unwrap_or("the first"));
        line("link", notice.link.as_deref().unwrap_or("none"));
        line("details", &bounded(notice.details));
    }
    text
}
