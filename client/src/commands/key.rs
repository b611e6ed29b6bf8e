//! `holdfast key`: the key pairs of a user, where Dolt keeps them.
//!
//! * Truth: `~/.dolt/creds/<id>.jwk`, and `user.creds` in `~/.dolt/config_global.json`, which names the one that is used.
//! * Order: a key is durable before the settings name it.

use anyhow::Context as _;
use holdfast_chunkstore::objects::durable;
use holdfast_client::remote::credentials::{NewKey, named_key_id};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::Complaint;
use super::user::User;
use crate::args::{self, Environment, Format, KeyAction, Output};
use crate::ui::{self, paint::Paint};

/// Only the user may read a private key.
const KEY_MODE: u32 = 0o600;

pub(super) fn key(
    arguments: args::Key,
    output: Output,
    environment: &Environment,
) -> anyhow::Result<()> {
    let mut user = User::read(environment, None)?;
    match arguments.action {
        KeyAction::New => new(&mut user, output),
        KeyAction::List => list(&user, output),
        KeyAction::Use { key } => {
            let missing = || Complaint::NoKey { name: key.clone() };
            let id = named_key_id(&key).ok_or_else(missing)?;
            if !user.keys()?.contains(&id) {
                return Err(missing().into());
            }
            user.read_key(&id)?;
            user.set_key(&id)?;
            show(&id, &user, output)
        }
    }
}

fn new(user: &mut User, output: Output) -> anyhow::Result<()> {
    let mut seed = [0; 32];
    let random = SystemRandom::new().fill(&mut seed);
    random.map_err(|_| anyhow::anyhow!("could not draw a random key"))?;
    let new = NewKey::of_seed(&seed)?;
    let folder = user.key_folder()?;
    let failed = || format!("could not write a key to {}", folder.display());
    durable::create_root(&folder).with_context(failed)?;
    let path = folder.join(format!("{}.jwk", new.key.id()));
    durable::write_over(&path, "new-", KEY_MODE, &new.file).with_context(failed)?;
    if user.settings.get("user.creds").is_none() {
        user.set_key(new.key.id())?;
    }
    show(new.key.id(), user, output)
}

fn list(user: &User, output: Output) -> anyhow::Result<()> {
    for id in user.keys()? {
        show(&id, user, output)?;
    }
    Ok(())
}

/// Shows one key; one that cannot be read is told of, and the others are shown.
fn show(id: &str, user: &User, output: Output) -> anyhow::Result<()> {
    let is_used = user.settings.get("user.creds") == Some(id);
    let key = match user.read_key(id) {
        Ok(key) => key,
        Err(error) => {
            ui::warn(&format!("{error}; it is passed over"));
            return Ok(());
        }
    };
    let public = key.public_text();
    if output.format == Format::Json {
        let line = json!({ "public_key": public, "id": id, "used": is_used });
        return ui::print(&line.to_string());
    }
    let line = format!("{public}  {id}");
    match is_used {
        true => ui::print(&format!("* {}", output.paint(Paint::Good, &line))),
        false => ui::print(&format!("  {line}")),
    }
}
