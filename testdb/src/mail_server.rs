//! A mail server on a free port of 127.0.0.1 that keeps the letters it takes.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A letter as it was handed in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The address of the envelope.
    pub to: String,
    /// Headers and text, with lines that end in `\n`.
    pub content: String,
}

/// A mail server. It ends with the program.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    letters: Receiver<Received>,
}

impl MailServer {
    /// Starts one that refuses as many letters with these codes, one each, before it takes some.
    ///
    /// # Errors
    ///
    /// It cannot listen.
    pub fn start(refusals: Vec<u16>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let (taken, letters) = mpsc::channel();
        std::thread::Builder::new()
            .name("mail server".into())
            .spawn(move || {
                let refusals = Arc::new(Mutex::new(refusals.into_iter()));
                for stream in listener.incoming().flatten() {
                    let (refusals, taken) = (refusals.clone(), taken.clone());
                    // A client that goes away in the middle harms nobody.
                    std::thread::spawn(move || serve(&stream, &refusals, &taken));
                }
            })?;
        Ok(Self { port, letters })
    }

    /// Its URL for `--smtp-url`.
    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }

    /// The next letter; `None` if none comes in this time.
    pub fn next(&self, within: Duration) -> Option<Received> {
        self.letters.recv_timeout(within).ok()
    }
}

impl Received {
    /// The first word of the text that begins with this, without it; `None` without one.
    pub fn word_after(&self, before: &str) -> Option<&str> {
        self.content.split_once(before)?.1.split_whitespace().next()
    }
}

fn serve(
    stream: &TcpStream,
    refusals: &Mutex<std::vec::IntoIter<u16>>,
    taken: &Sender<Received>,
) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let say = |text: &str| (&*stream).write_all(format!("{text}\r\n").as_bytes());
    say("220 mail.example.org")?;
    let mut to = String::new();
    while let Some(line) = lines.next() {
        let line = line?;
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "MAIL" => say("250 ok")?,
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1);
                to = address.unwrap_or_default().to_owned();
                let refusal = refusals
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .next();
                match refusal {
                    Some(code) => say(&format!("{code} not now"))?,
                    None => say("250 ok")?,
                }
            }
            "DATA" => {
                say("354 go on")?;
                let mut content = String::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    content.push_str(line.strip_prefix('.').unwrap_or(&line));
                    content.push('\n');
                }
                let to = std::mem::take(&mut to);
                let _ = taken.send(Received { to, content });
                say("250 ok")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 mail.example.org")?,
        }
    }
    Ok(())
}
