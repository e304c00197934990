//! The measured target: a relay of its own, or a deployment.

use std::io;
use std::net::SocketAddr;

use super::Shape;
use super::cores::{Cores, Placement};
use super::deployment::{Deployment, DeploymentError};
use super::flags::Flags;
use super::network::Network;
use super::rig::{Rig, RigError};
use super::step::Sources;
use super::voice::Session;
use crate::program;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Flags that do not go together.
    #[error("{0}")]
    Flags(String),
    /// The relay that was to be started.
    #[error(transparent)]
    Rig(#[from] RigError),
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// A socket or a file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A signal asked the program to end.
    #[error("interrupted")]
    Interrupted,
}

pub enum Target {
    /// A relay of its own.
    Own(Box<Rig>),
    /// A deployment, and the metrics of its relay, if they are known.
    Deployment(Deployment, Option<SocketAddr>),
}

impl Target {
    /// The rig that the flags ask for. Pins this process to its own cores.
    pub async fn start(flags: &Flags) -> Result<Self, LoadError> {
        if flags.control.is_some() {
            if let Some(cores) = &flags.cores {
                cores.pin_process(std::process::id())?;
            }
            let deployment = Deployment::new(&flags.user_prefix);
            return Ok(Self::Deployment(deployment, flags.relay_metrics));
        }
        let halves = Placement::halves()?;
        let relay = flags.relay_cores.clone().unwrap_or(halves.relay);
        let load = flags.cores.clone().unwrap_or(halves.load);
        let refused = |cores: &Cores, error: io::Error| {
            LoadError::Flags(format!("cannot run on cores {cores}: {error}"))
        };
        load.pin_process(std::process::id())
            .map_err(|error| refused(&load, error))?;
        program::print(&format!(
            "the relay on cores {relay}, the load on cores {load}"
        ));
        let programs = flags
            .programs
            .clone()
            .map_or_else(program::own_folder, Ok)?;
        let rig = Rig::start_on(
            Some(&relay),
            &Network::loopback(),
            &programs,
            &flags.relay_flags,
        )
        .await?;
        Ok(Self::Own(Box::new(rig)))
    }

    /// Gets from a deployment what sessions need. What was got so far is taken back by [`end`](Self::end), also when this
    /// is not waited for.
    pub async fn sign_in(&mut self, flags: &Flags) -> Result<(), LoadError> {
        if let (Self::Deployment(deployment, _), Some(server)) = (self, &flags.control) {
            let registered = deployment.register(server, flags.fingerprint, flags.members);
            registered.await?;
        }
        Ok(())
    }

    /// Opens every session of `shape`. Rooms are numbered from `first_room` on.
    pub async fn open(&self, shape: Shape, first_room: u32) -> Result<Vec<Session>, LoadError> {
        Ok(match self {
            Self::Own(rig) => rig.open(shape, first_room).await?,
            Self::Deployment(deployment, _) => deployment.open(shape, first_room).await?,
        })
    }

    /// Where the relay's own figures come from.
    pub fn sources(&self) -> Sources {
        match self {
            Self::Own(rig) => Sources {
                metrics: Some(rig.metrics),
                pid: Some(rig.pid),
            },
            Self::Deployment(_, metrics) => Sources {
                metrics: *metrics,
                pid: None,
            },
        }
    }

    /// An error when what was opened is no longer there.
    pub fn check(&self) -> Result<(), LoadError> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Deployment(deployment, _) => Ok(deployment.check()?),
        }
    }

    /// Takes back what it left elsewhere.
    pub async fn end(self) {
        if let Self::Deployment(deployment, _) = self {
            deployment.end().await;
        }
    }
}
