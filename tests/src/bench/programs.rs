//! The programs that bench programs run.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::process;

/// Where they are; only `dolt` has to be there.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Today's `dolt`.
    pub dolt: PathBuf,
    remotesrv: Option<PathBuf>,
    holdfastd: Option<PathBuf>,
    holdfast: Option<PathBuf>,
}

impl Programs {
    /// Finds them by variable (`$HOLDFAST_DOLT`, `$HOLDFAST_REMOTESRV`, `$HOLDFAST_SERVER`, `$HOLDFAST_CLIENT`) or on
    /// PATH.
    pub fn find() -> Result<Self> {
        let dolt = process::find("HOLDFAST_DOLT", "dolt");
        Ok(Self {
            dolt: dolt.context("there is no dolt: set HOLDFAST_DOLT or put dolt on PATH")?,
            remotesrv: process::find("HOLDFAST_REMOTESRV", "remotesrv"),
            holdfastd: process::find("HOLDFAST_SERVER", "holdfastd"),
            holdfast: process::find("HOLDFAST_CLIENT", "holdfast"),
        })
    }

    /// Dolt's own server.
    pub fn remotesrv(&self) -> Result<&Path> {
        self.remotesrv
            .as_deref()
            .context("there is no remotesrv: set HOLDFAST_REMOTESRV or put it on PATH")
    }

    /// Our server.
    pub fn holdfastd(&self) -> Result<&Path> {
        self.holdfastd
            .as_deref()
            .context("there is no holdfastd: `./dev bench` builds it; else set HOLDFAST_SERVER")
    }

    /// Our client.
    pub fn holdfast(&self) -> Result<&Path> {
        self.holdfast
            .as_deref()
            .context("there is no holdfast: `./dev bench` builds it; else set HOLDFAST_CLIENT")
    }
}
