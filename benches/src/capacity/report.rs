//! The table for a person, the figures for a program.

use std::fmt::Write as _;

use super::Assumptions;
use super::day::Day;
use super::demand::Demand;
use super::regions::REGIONS;
use super::snapshot::RegionLoad;
use crate::figures::{Figure, Goal};

#[derive(Debug, Clone)]
pub struct Report {
    /// The assumptions.
    pub assumptions: Assumptions,
    pub day: Day,
    /// Its request.
    pub demand: Demand,
}

impl Report {
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = self.write_day(&mut text);
        let _ = self.write_requests(&mut text);
        let _ = self.write_machines(&mut text);
        text
    }

    pub fn figures(&self) -> Vec<Figure> {
        let (day, demand) = (&self.day, &self.demand);
        let (before, after) = (&day.before, &day.after);
        let (loss, relays) = (&day.loss, &demand.relays);
        let replicas = f64::from(self.assumptions.replicas);
        let values = [
            ("people", before.people as f64, "people"),
            ("rooms", before.rooms as f64, "rooms"),
            ("joins_per_s", day.busiest.joins, "1/s"),
            ("rooms_opened_per_s", day.busiest.openings, "1/s"),
            ("room_events_per_s", day.busiest.events, "1/s"),
            ("sessions_peak_vs_mean", before.sessions_ratio(), "ratio"),
            ("cpu_peak_vs_mean", before.cores_ratio(), "ratio"),
            ("busiest_worker", before.busiest_worker(), "cores"),
            (
                "sessions_peak_vs_mean.after",
                after.sessions_ratio(),
                "ratio",
            ),
            ("cpu_peak_vs_mean.after", after.cores_ratio(), "ratio"),
            ("busiest_worker.after", after.busiest_worker(), "cores"),
            ("lost_relays", loss.relays as f64, "relays"),
            ("moved_rooms", loss.rooms as f64, "rooms"),
            ("moved_people", loss.people as f64, "people"),
            ("moved_within", loss.seconds, "s"),
            ("joins_without_relay", day.refused as f64, "joins"),
            ("relays_needed", f64::from(relays.all), "relays"),
            ("datagrams_per_person", demand.datagrams_per_person, "1/s"),
            ("egress", demand.egress_bits / 1e9, "Gbit/s"),
            ("conditional_per_s", demand.conditional_per_s(), "1/s"),
            ("reads_per_s", demand.reads_per_s(), "1/s"),
            ("writes_per_s", demand.writes_per_s(), "1/s"),
            (
                "requests_per_user_day",
                demand.requests_per_user_day,
                "requests",
            ),
            (
                "control_bytes_per_user_day",
                demand.control_bytes_per_user_day,
                "bytes",
            ),
            (
                "voice_bytes_per_user_day",
                demand.voice_bytes_per_user_day,
                "bytes",
            ),
            ("storage", demand.storage / 1e9, "GB"),
            (
                "storage.all_replicas",
                demand.storage * replicas / 1e9,
                "GB",
            ),
            ("control_nodes_by_memory", demand.nodes_by_memory, "nodes"),
            ("control_nodes_by_cpu", demand.nodes_by_cores, "nodes"),
            (
                "database_nodes_by_conditional",
                demand.database_nodes,
                "nodes",
            ),
        ];
        let figure = |(name, value, unit): (&str, f64, &'static str)| {
            Figure::new(&format!("capacity.{name}"), value, unit, Goal::None)
        };
        values.into_iter().map(figure).collect()
    }

    fn write_day(&self, out: &mut String) -> std::fmt::Result {
        let (day, assumed) = (&self.day, &self.assumptions);
        writeln!(
            out,
            "{} people in {} rooms at the busiest moment, {:.2} million over the day in the mean",
            day.before.people,
            day.before.rooms,
            day.mean_people / 1e6
        )?;
        writeln!(
            out,
            "a gathering has {:.1} people in the mean; half of all people are in gatherings of {} and more; one stays {:.2} h",
            day.mean_gathering, day.median_company, day.stay_hours
        )?;
        writeln!(
            out,
            "at the busiest, in a second: {:.0} joins, {:.0} rooms opened, {:.0} times somebody is told who came or went",
            day.busiest.joins, day.busiest.openings, day.busiest.events
        )?;
        writeln!(
            out,
            "\nload of {} relays with {} workers at that moment; processor time in cores for each worker",
            assumed.relays, assumed.workers
        )?;
        writeln!(
            out,
            "{:<18}{:>6}{:>10}{:>7}{:>7}{:>11}{:>7}{:>7}{:>9}",
            "region", "relays", "sessions", "most", "ratio", "processor", "most", "ratio", "worker"
        )?;
        for (region, load) in REGIONS.iter().zip(&day.before.regions) {
            writeln!(out, "{}", row(region.name, load))?;
        }
        writeln!(
            out,
            "\n{} relays are lost: {} rooms with {} people go elsewhere, the last of them {:.1} s after the loss",
            day.loss.relays, day.loss.rooms, day.loss.people, day.loss.seconds
        )?;
        let ratios = |of: &super::snapshot::Snapshot| {
            format!(
                "sessions {:.2}, processor time {:.2}; busiest worker {:.2} of a core",
                of.sessions_ratio(),
                of.cores_ratio(),
                of.busiest_worker()
            )
        };
        writeln!(
            out,
            "the fullest relay against its region's mean, where that is the most: before the loss {}; after it {}",
            ratios(&day.before),
            ratios(&day.after)
        )?;
        if day.refused > 0 {
            writeln!(out, "{} joins found no relay with room", day.refused)?;
        }
        Ok(())
    }

    fn write_requests(&self, out: &mut String) -> std::fmt::Result {
        let demand = &self.demand;
        writeln!(
            out,
            "\n{:<22}{:>12}{:>10}   statements: {:>5}{:>8}{:>8}{:>13}",
            "request", "a user, day", "a second", "reads", "writes", "SERIAL", "conditional"
        )?;
        for row in &demand.rows {
            let by = &row.statements;
            writeln!(
                out,
                "{:<22}{:>12.3}{:>10.1}{:>20}{:>8}{:>8}{:>13}",
                by.name,
                row.per_user_day,
                row.per_s,
                by.reads,
                by.writes,
                by.serial_reads,
                by.conditional
            )?;
        }
        writeln!(
            out,
            "together {:.1} requests a user and day; at the busiest {:.0} conditional writes and reads at SERIAL a second, {:.0} reads, {:.0} writes",
            demand.requests_per_user_day,
            demand.conditional_per_s(),
            demand.reads_per_s(),
            demand.writes_per_s()
        )?;
        writeln!(
            out,
            "a user and day: {:.2} MB with control, {:.0} MB of voice",
            demand.control_bytes_per_user_day / 1e6,
            demand.voice_bytes_per_user_day / 1e6
        )
    }

    fn write_machines(&self, out: &mut String) -> std::fmt::Result {
        let (demand, assumed) = (&self.demand, &self.assumptions);
        writeln!(
            out,
            "\nfrom relays: {:.0} datagrams a second for each person, {:.0} Gbit/s in all",
            demand.datagrams_per_person,
            demand.egress_bits / 1e9
        )?;
        let relays = &demand.relays;
        writeln!(
            out,
            "relays for each region's own busiest hour, one to spare in each: {} (processor time {}, network {}, sessions {})",
            relays.all, relays.by_cores, relays.by_network, relays.by_sessions
        )?;
        writeln!(
            out,
            "{} links between nodes and relays; {:.0} load reports a second at each node, {:.1} Mbit/s in all; {:.0} heartbeats and looks at them a second",
            demand.links,
            demand.reports_per_s,
            demand.report_bytes_per_s * 8.0 / 1e6,
            demand.heartbeats_per_s
        )?;
        let cores = &demand.cores;
        writeln!(
            out,
            "control nodes: {:.1} by memory, {:.1} by processor time (cores: joins {:.1}, idle connections {:.1}, passwords {:.1})",
            demand.nodes_by_memory, demand.nodes_by_cores, cores.joins, cores.idle, cores.passwords
        )?;
        writeln!(
            out,
            "database: {:.0} GB, {:.0} GB with {} replicas; {:.1} nodes by conditional writes",
            demand.storage / 1e9,
            demand.storage * f64::from(assumed.replicas) / 1e9,
            assumed.replicas,
            demand.database_nodes
        )
    }
}

fn row(name: &str, load: &RegionLoad) -> String {
    let (sessions, most) = load.sessions;
    let (cores, fullest) = load.cores;
    format!(
        "{name:<18}{:>6}{sessions:>10.0}{most:>7.0}{:>7.2}{cores:>11.3}{fullest:>7.3}{:>7.2}{:>9.2}",
        load.relays,
        most / sessions,
        fullest / cores,
        load.busiest_worker
    )
}
