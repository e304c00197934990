//! Inputs and recordings: no file is overwritten by mistake, and a full disk stops no voice.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use super::world::{PATIENCE, World, ended, ended_by, named_pipe, redirected, run};

const USAGE: Option<i32> = Some(2);
const NOT_FOUND: Option<i32> = Some(4);
const AUDIO: Option<i32> = Some(7);

/// A WAV file with a tone.
pub fn wav(seconds: u32) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = std::io::Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).unwrap();
    for n in 0..seconds * 48_000 {
        let phase = f64::from(n) * 440.0 / 48_000.0 * std::f64::consts::TAU;
        writer.write_sample((phase.sin() * 8000.0) as i16).unwrap();
    }
    writer.finalize().unwrap();
    bytes.into_inner()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_compared_before_any_is_opened_for_writing() {
    let world = World::new(&["ann"]).await;
    let [take, hard, soft, other] =
        ["take", "hard", "soft", "other"].map(|name| world.scratch().join(format!("{name}.wav")));
    fs::write(&take, wav(1)).unwrap();
    fs::write(&other, "another take").unwrap();
    fs::hard_link(&take, &hard).unwrap();
    std::os::unix::fs::symlink(&take, &soft).unwrap();
    let [take_arg, hard_arg, soft_arg] = [&take, &hard, &soft].map(|path| text(path));

    let cases: [(&[&str], &str); 10] = [
        (&["--in", "none", "--out", text(&other)], ""),
        (&["--in", take_arg, "--out", take_arg, "--overwrite"], ""),
        (&["--in", take_arg, "--out", hard_arg, "--overwrite"], ""),
        (&["--in", soft_arg, "--out", hard_arg, "--overwrite"], ""),
        (&["--in", "-", "--out", hard_arg, "--overwrite"], "< TAKE"),
        (&["--in", take_arg, "--out", "-"], ">> TAKE"),
        (&["--in", take_arg, "--out", "none"], ">> TAKE"),
        (&["--in", take_arg, "--out", "none"], "2>> OTHER >> TAKE"),
        (
            &["--in", "none", "--out", take_arg, "--overwrite"],
            ">> TAKE",
        ),
        (&["--in", "none", "--out", "-"], ">> TAKE 2>&1"),
    ];
    for (args, redirection) in cases {
        let all = [&["join", "room", "--duration", "1s"], args].concat();
        let redirection = redirection
            .replace("TAKE", hard_arg)
            .replace("OTHER", text(&world.scratch().join("log")));
        let mut command = redirected(&world.client("ann", &all), &redirection);
        let mut call = command.stderr(Stdio::null()).spawn().unwrap();
        assert_eq!(ended(&mut call).await.code, USAGE, "{args:?} {redirection}");
        // With `>>` the error message is appended to the file.
        assert!(
            fs::read(&take).unwrap().starts_with(&wav(1)),
            "{args:?} {redirection}"
        );
        assert_eq!(fs::read(&other).unwrap(), b"another take");
    }

    let replaced = ["join", "room", "--duration", "1s", "--in", "none"];
    let replaced = [&replaced[..], &["--out", text(&other), "--overwrite"]].concat();
    let (code, said) = run(&mut world.client("ann", &replaced)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(hound::WavReader::open(&other).unwrap().duration() >= 40_000);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_fails_leaves_earlier_recordings_and_no_new_files() {
    let world = World::new(&["ann"]).await;
    let [old, new, folder] = ["old.wav", "new.wav", "new"].map(|name| world.scratch().join(name));
    fs::write(&old, wav(1)).unwrap();
    let inside = folder.join("all.wav");
    let record = ["--out", text(&inside), "--record-dir", text(&folder)];
    let recordings: [&[&str]; 3] = [
        &["--out", text(&old), "--overwrite"],
        &["--out", text(&new)],
        &record,
    ];
    for args in recordings {
        let args = [&["join", "nosuch", "--in", "none"], args].concat();
        let (code, said) = run(&mut world.client("ann", &args)).await;
        assert_eq!(code, NOT_FOUND, "{args:?}: {said}");
        assert!(fs::read(&old).unwrap() == wav(1), "{args:?}");
        assert!(!new.exists() && !folder.exists(), "{args:?}");
    }

    // A signal before the join: the mix waits for the reader of a pipe.
    let pipe = world.scratch().join("pipe");
    named_pipe(&pipe);
    let args = ["join", "room", "--in", "none", "--out", text(&pipe)];
    let args = [&args[..], &["--record-dir", text(&folder)]].concat();
    let mut waiting = world.client("ann", &args).spawn().unwrap();
    let until = std::time::Instant::now() + PATIENCE;
    while !folder.exists() {
        assert!(std::time::Instant::now() < until, "the folder is created");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let ending = ended_by(&mut waiting, Signal::INT).await;
    assert_eq!(ending.code, Some(130));
    assert!(!folder.exists());

    let args = ["join", "room", "--duration", "1s", "--in", "none"];
    let args = [&args[..], &record].concat();
    let (code, said) = run(&mut world.client("ann", &args)).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(hound::WavReader::open(&inside).unwrap().duration() >= 40_000);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_recordings_keeps_its_files() {
    let mut world = World::new(&["ann", "ben"]).await;
    let folder = world.scratch().join("recordings");
    fs::create_dir(&folder).unwrap();
    let mut speaker = world.speaker("ann", &[]).spawn().unwrap();
    world.hears("ann").await;
    // Takes the file name of the speaker, whatever its label is.
    let earlier = wav(1);
    for label in 0..32 {
        fs::write(folder.join(format!("ann-{label}.wav")), &earlier).unwrap();
    }
    let played = folder.join("ann-1.wav");
    let args = ["join", "room", "--duration", "2s", "--out", "none"];
    let args = [
        &args[..],
        &["--in", text(&played), "--record-dir", text(&folder)],
    ]
    .concat();
    let (code, said) = run(&mut world.client("ben", &args)).await;
    assert_eq!(code, Some(0), "{said}");
    for label in 0..32 {
        let kept = fs::read(folder.join(format!("ann-{label}.wav"))).unwrap();
        assert!(kept == earlier, "ann-{label}.wav");
    }
    let new = fs::read_dir(&folder).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with("-2.wav") && name != "ann-2.wav"
    });
    assert_eq!(new.count(), 1, "the new recording has a number");
    assert_eq!(ended_by(&mut speaker, Signal::TERM).await.code, Some(0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_grow_ends_the_recording_and_not_the_call() {
    let mut world = World::new(&["ann"]).await;
    let mix = world.scratch().join("mix.wav");
    let args = ["join", "room", "--tone", "440", "--out", text(&mix)];
    // The limit is 100 kB, about one second.
    let unlimited = world.client("ann", &args);
    let mut command = redirected(&unlimited, "");
    let script = "ulimit -f 200; exec \"$0\" \"$@\"";
    let mut limited = tokio::process::Command::new("sh");
    limited.arg("-c").arg(script).kill_on_drop(true);
    limited.args(command.as_std().get_args().skip(2));
    for (name, value) in unlimited.as_std().get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    command.env_clear();
    let mut call = limited
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    world.goes_on_hearing(&["ann"]).await;
    assert_eq!(ended_by(&mut call, Signal::TERM).await.code, AUDIO);
    world.sees_leave("ann").await;
    let samples = hound::WavReader::open(&mix).unwrap().into_samples::<i16>();
    assert!(
        samples.map(Result::unwrap).count() > 10_000,
        "the part before the limit is readable"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusable_inputs_and_outputs_are_refused_before_the_join() {
    let world = World::new(&["ann"]).await;
    let folder = text(world.scratch()).to_owned();
    for args in [
        ["--in", "none", "--out", "/dev/full"],
        ["--in", "none", "--out", &folder],
        ["--in", &folder, "--out", "none"],
        ["--in", "/dev/null", "--out", "none"],
    ] {
        let (code, said) =
            run(&mut world.client("ann", &[&["join", "room"], &args[..]].concat())).await;
        assert_eq!(code, AUDIO, "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
    }
    world.end().await;
}
