//! `devices`: the microphones and speakers of this machine.

use serde::Serialize;

use super::context::Context;
use crate::audio::device::listing::listed;
use crate::audio::device::wanted::{Listed, Wanted};
use crate::failure::Failure;
use crate::output::Printed;

/// The devices, and which are used.
#[derive(Debug, Serialize)]
pub(super) struct DeviceTable {
    /// The id of the microphone that calls use; `default`: what the system chooses.
    input: String,
    /// The speakers, likewise.
    output: String,
    devices: Vec<Listed>,
}

#[derive(Serialize)]
struct Report {
    event: &'static str,
    #[serde(flatten)]
    table: DeviceTable,
}

pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let settings = context.store().await?.settings().await?;
    // A sound system that hangs holds a thread that the program does not wait for.
    let listing = tokio::task::spawn_blocking(listed);
    let devices = listing.await.map_err(|error| {
        let message = format!("cannot list devices: {error}");
        Failure::new(crate::failure::Exit::Other, "thread", message)
    })??;
    let wanted = [settings.input_device, settings.output_device].map(Wanted::from_kept);
    context.output.print(&Report {
        event: "devices",
        table: DeviceTable::new(devices, wanted),
    });
    Ok(())
}

impl DeviceTable {
    /// The devices, with the wanted microphone and speakers.
    pub(super) fn new(devices: Vec<Listed>, [input, output]: [Wanted; 2]) -> Self {
        Self {
            input: input.as_str().to_owned(),
            output: output.as_str().to_owned(),
            devices,
        }
    }

    /// The lines for a person.
    pub(super) fn lines(&self) -> Vec<String> {
        if self.devices.is_empty() {
            return vec!["no microphones and no speakers are here".to_owned()];
        }
        let longest = self.devices.iter().map(|one| one.id.chars().count()).max();
        let width = longest.unwrap_or(0).clamp(2, 40);
        let head = format!("  {:<width$}  {:<19}  NAME", "ID", "IS");
        let line = |device: &Listed| {
            let is = match (device.input, device.output) {
                (true, true) => "microphone+speakers",
                (true, false) => "microphone",
                _ => "speakers",
            };
            let is_chosen = device.input && device.id == self.input
                || device.output && device.id == self.output;
            let mark = if is_chosen { '*' } else { ' ' };
            format!("{mark} {:<width$}  {is:<19}  {}", device.id, device.name)
        };
        let chosen = format!(
            "microphone: {}; speakers: {}. Change them with `confab join --input-device ID --output-device ID`, or in a call \
             with /input ID and /output ID",
            self.input, self.output
        );
        let lines = self.devices.iter().map(line);
        std::iter::once(head).chain(lines).chain([chosen]).collect()
    }
}

impl Printed for Report {
    fn lines(&self) -> Vec<String> {
        self.table.lines()
    }
}
