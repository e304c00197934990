//! What a person chooses during a call: the devices, and how loud others are. Choices are kept for later calls.
//!
//! Looking for devices and writing files may take any time: both are done beside the call, and [`Choices::next`] tells what came
//! of it.

use std::time::Duration;

use confab_e2ee::mls::identity::ServerId;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::audio::device::Side;
use crate::audio::device::listing::listed;
use crate::audio::device::wanted::{self, Listed, Wanted};
use crate::store::Store;
use crate::store::settings::Settings;

/// Answers that wait to be taken.
const ANSWERS: usize = 16;

/// Time in which choices have to be kept at the end of a call.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// What came of a choice.
#[derive(Debug)]
pub(super) enum Chosen {
    /// The devices of this machine.
    Devices(Vec<Listed>),
    /// From now on this device is wanted.
    Device(Side, Wanted),
    /// It did not work, or was not kept; why, for the person.
    Failed(String),
}

/// A change of the settings.
type Change = Box<dyn FnOnce(&mut Settings) + Send>;

/// Choices on their way.
pub(super) struct Choices {
    server: ServerId,
    settings: Settings,
    /// Number of the last device that was named, for each side: an answer to an earlier one comes too late.
    named: [u32; 2],
    /// `None` at the end.
    changes: Option<mpsc::UnboundedSender<Change>>,
    keeping: JoinHandle<()>,
    to: mpsc::Sender<(Option<u32>, Chosen)>,
    answers: mpsc::Receiver<(Option<u32>, Chosen)>,
}

impl Choices {
    /// What was chosen before.
    pub(super) fn new(store: Store, server: ServerId, settings: Settings) -> Self {
        let (to, answers) = mpsc::channel(ANSWERS);
        let (changes_to, changes) = mpsc::unbounded_channel();
        Self {
            server,
            settings,
            named: [0; 2],
            changes: Some(changes_to),
            keeping: tokio::spawn(keep(store, changes, to.clone())),
            to,
            answers,
        }
    }

    /// What came of a choice; pending while there is nothing.
    pub(super) async fn next(&mut self) -> Option<Chosen> {
        loop {
            let (number, chosen) = self.answers.recv().await?;
            match &chosen {
                Chosen::Device(side, _) if number != Some(self.named[*side as usize]) => {}
                _ => return Some(chosen),
            }
        }
    }

    /// Waits a little until all choices are kept.
    pub(super) async fn finish(&mut self) {
        self.changes = None;
        // What is not kept by then is chosen again.
        let _ = tokio::time::timeout(FINISH_TIMEOUT, &mut self.keeping).await;
    }

    /// How loud somebody is to be played, in percent; `None` for who is not to be changed.
    pub(super) fn volume_of(&self, username: &str) -> Option<u8> {
        let mut volumes = self.settings.volumes(self.server);
        let found = volumes.find(|(name, _)| *name == username);
        found.map(|(_, percent)| percent)
    }

    /// Keeps how loud somebody is.
    pub(super) fn keep_volume(&mut self, username: &str, percent: u8) {
        let (server, username) = (self.server, username.to_owned());
        self.change(move |settings| settings.set_volume(server, &username, percent));
    }

    /// Looks which devices there are.
    pub(super) fn show_devices(&self) {
        self.answer_with(None, || match listed() {
            Ok(devices) => Chosen::Devices(devices),
            Err(error) => Chosen::Failed(error.to_string()),
        });
    }

    /// Looks for the device that a person named.
    pub(super) fn find_device(&mut self, side: Side, name: String) {
        let number = self.named[side as usize].wrapping_add(1);
        self.named[side as usize] = number;
        self.answer_with(Some(number), move || match resolve(side, &name) {
            Ok(wanted) => Chosen::Device(side, wanted),
            Err(why) => Chosen::Failed(why),
        });
    }

    /// Keeps a device.
    pub(super) fn keep_device(&mut self, side: Side, wanted: &Wanted) {
        let id = wanted.clone().into_kept();
        self.change(move |settings| device_of(settings, side).clone_from(&id));
    }

    fn change(&mut self, change: impl Fn(&mut Settings) + Send + 'static) {
        change(&mut self.settings);
        if let Some(changes) = &self.changes {
            // It ends with this.
            let _ = changes.send(Box::new(change));
        }
    }

    fn answer_with(&self, number: Option<u32>, work: impl FnOnce() -> Chosen + Send + 'static) {
        let to = self.to.clone();
        // A sound system that hangs holds this thread and nothing else.
        tokio::task::spawn_blocking(move || {
            let _ = to.blocking_send((number, work()));
        });
    }
}

/// Keeps changes, one after the other.
async fn keep(
    store: Store,
    mut changes: mpsc::UnboundedReceiver<Change>,
    to: mpsc::Sender<(Option<u32>, Chosen)>,
) {
    while let Some(change) = changes.recv().await {
        if let Err(error) = store.change_settings(change).await {
            let why = format!("the choice holds for this call, and is not kept: {error}");
            // Nobody takes it any more at the end.
            let _ = to.try_send((None, Chosen::Failed(why)));
        }
    }
}

/// The device of a side that a person has named, by its id.
///
/// # Errors
///
/// There is none or more than one, or the sound system does not answer; for the person.
pub(super) fn resolve(side: Side, name: &str) -> Result<Wanted, String> {
    let Wanted::Named(name) = Wanted::new(name) else {
        return Ok(Wanted::Default);
    };
    let devices = listed().map_err(|error| error.to_string())?;
    let of_side = devices.into_iter().filter(|device| match side {
        Side::Microphone => device.input,
        Side::Speakers => device.output,
    });
    let names: Vec<_> = of_side.map(|device| (device.id, device.name)).collect();
    match wanted::find(&names, &name) {
        Ok(place) => Ok(Wanted::Named(names[place].0.clone())),
        Err(error) => Err(format!("{}: {error}", side.name())),
    }
}

/// The kept device of a side.
pub(super) fn device_of(settings: &mut Settings, side: Side) -> &mut Option<String> {
    match side {
        Side::Microphone => &mut settings.input_device,
        Side::Speakers => &mut settings.output_device,
    }
}
