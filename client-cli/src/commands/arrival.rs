//! The way in by a link: the server is the link's, and a person without an account there gets one.

use bytes::Bytes;
use confab_protocol::control::link::{BadLink, ConferenceLink};
use confab_protocol::control::{Birthday, Email, ErrorCode, InvitationToken, Slug, Username};
use confab_protocol::wire::{self, request::Kind};

use super::context::Context;
use super::questions::{self, ask, ask_for, ask_if_any};
use super::{account, meet, password};
use crate::failure::{Exit, Failure};
use crate::flags::{FirstSight, Login, PasswordFlags, Place, Register, default_device};
use crate::net::sign_in::Access;
use crate::net::{
    ApiError, BadServer, Fingerprint, FixedToken, Link, RegistrationTerms, Remembered, Server,
};
use crate::stderr::print_on_stderr;

/// Tries to make an account or to log in.
const TRIES: usize = 5;

/// The context for the server of a link.
///
/// # Errors
///
/// The options name another server, or the server is known under another authority.
pub(super) async fn by_link(context: &Context, link: &ConferenceLink) -> Result<Context, Failure> {
    let server: Server = link
        .server
        .parse()
        .map_err(|error: BadServer| Failure::usage(error.to_string()))?;
    let authority = Fingerprint::from(link.authority);
    let mut common = context.common.clone();
    let is_other = common.server.as_ref().is_some_and(|given| *given != server)
        || common.fingerprint.is_some_and(|given| given != authority);
    if is_other {
        return Err(Failure::usage(
            "the link names its server: leave out --server and --fingerprint",
        ));
    }
    let store = context.store().await?;
    let known = store.known_server(&server.to_string()).await?;
    if let Some(known) = known
        .map(Remembered::authority)
        .filter(|known| *known != authority)
    {
        let message = format!(
            "the link says that the authority of {server} is {authority}, and here {known} is remembered. Somebody may have changed \
             the link, or the server: ask who sent it. If the server has a new authority, remove its line from {}",
            store.known_servers_path().display()
        );
        return Err(Failure::new(Exit::Network, "authority_changed", message));
    }
    common.server = Some(server);
    // An authority that was given by file vouches for itself.
    if common.ca.is_none() {
        common.fingerprint = Some(authority);
    }
    Ok(Context {
        common,
        output: context.output,
    })
}

/// Makes sure that there is a session at the server of a link: a person at a terminal is asked for what is missing.
pub(super) async fn arrive(context: &Context, link: &ConferenceLink) -> Result<(), Failure> {
    let mut access = context.access().await?;
    let server = access.server.to_string();
    if password::is_bot() || access.store.sessions().await?.get(&server).is_some() {
        return Ok(());
    }
    if !meet::has_person() {
        let pin = context.common.fingerprint;
        let pin = pin.map_or_else(String::new, |pin| format!(" --fingerprint {pin}"));
        let invitation = match &link.invitation {
            Some(_) => " --invitation LINK",
            None => "",
        };
        let message = format!(
            "not logged in at {server}: `confab --server {server}{pin} login NAME`, or, for a new account, `… register NAME --email \
             E --birthday YYYY-MM-DD{invitation}`"
        );
        return Err(Failure::new(Exit::Auth, "not_logged_in", message));
    }
    // Nobody is asked anything for a server that is not there, or is another one.
    let opened = access.open().await?;
    let (terms, sends_mail) = (opened.registration, opened.sends_mail);
    opened.close().await;
    print_on_stderr(&format!("You are not logged in at {server} yet."));
    let is_new = match questions::refusal_of_new(terms.policy, link.invitation.is_some()) {
        Some(why) => {
            print_on_stderr(&format!("No new account can be made: {why}."));
            false
        }
        None => !has_account().await?,
    };
    let mut person = Newcomer::default();
    for _ in 0..TRIES {
        let tried = match is_new {
            true => person.sign_up(context, link, (terms, sends_mail)).await,
            false => log_in(context).await,
        };
        match tried {
            Ok(()) => return Ok(()),
            Err(failure) if matches!(failure.exit, Exit::Usage | Exit::Auth) => {
                let why = failure.message.trim_end_matches(": run the command again");
                print_on_stderr(&format!("That did not work: {why}."));
                person.correct(&failure.code);
            }
            Err(failure) => return Err(failure),
        }
    }
    let message = format!("not logged in at {server} after {TRIES} tries");
    Err(Failure::new(Exit::Auth, "not_logged_in", message))
}

async fn has_account() -> Result<bool, Failure> {
    loop {
        let answer = ask("Do you have an account there? y or n:").await?;
        match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => return Ok(true),
            "n" | "no" => return Ok(false),
            _ => {}
        }
    }
}

async fn log_in(context: &Context) -> Result<(), Failure> {
    let flags = Login {
        name: ask("Your name there, or e-mail address:").await?,
        device: default_device(),
        first_sight: FirstSight::default(),
        password: PasswordFlags::default(),
    };
    account::login(context, flags).await
}

/// A person who makes an account, with the answers that need not be asked for again.
#[derive(Default)]
struct Newcomer {
    name: Option<Username>,
    /// `Some(None)`: the person gives none.
    email: Option<Option<Email>>,
    birthday: Option<Birthday>,
}

impl Newcomer {
    async fn sign_up(
        &mut self,
        context: &Context,
        link: &ConferenceLink,
        (terms, sends_mail): (RegistrationTerms, bool),
    ) -> Result<(), Failure> {
        if self.name.is_none() {
            let question =
                "Choose a name, as others will see it (3 to 32 letters, digits, '.', '_' and '-'):";
            self.name = Some(ask_for(question).await?);
        }
        if self.email.is_none() {
            self.email = Some(match (terms.email_required, sends_mail) {
                (true, _) => Some(questions::email().await?),
                (false, true) => {
                    let question = "Your e-mail address, if a lost password is to be reset by mail (only Enter for none):";
                    ask_if_any(question).await?
                }
                (false, false) => None,
            });
        }
        if self.birthday.is_none() && terms.birthday_required {
            self.birthday = Some(questions::birthday().await?);
        }
        print_on_stderr("Now a password, 10 characters or more.");
        let email = self.email.as_ref().and_then(Option::as_ref);
        let flags = Register {
            name: self
                .name
                .as_ref()
                .map_or_else(String::new, Username::to_string),
            email: email.map(|email| email.as_str().to_owned()),
            birthday: self.birthday.map(|day| day.to_string()),
            invitation: link.invitation.is_some().then(|| link.clone()),
            device: default_device(),
            first_sight: FirstSight::default(),
            password: PasswordFlags::default(),
        };
        account::register(context, flags).await
    }

    /// Forgets the answer that was refused with this code.
    fn correct(&mut self, code: &str) {
        match code {
            "username_taken" => self.name = None,
            "email_taken" => self.email = None,
            "too_young" => self.birthday = None,
            "invalid_argument" => *self = Self::default(),
            // The password is asked for each time.
            _ => {}
        }
    }
}

/// Enters as a guest: the access is the guest's from then on.
pub(super) async fn enter_as_guest(
    mut access: Access,
    place: &Place,
    name: &Username,
) -> Result<Access, Failure> {
    let token = match place {
        Place::Link(link) => link.invitation.as_ref(),
        Place::Slug(_) => None,
    };
    let link = access.open().await?;
    let device = access.store.guest_key(link.server_id()).await?;
    let enter = wire::EnterAsGuest {
        name: name.as_str().to_owned(),
        slug: place.slug().to_string(),
        token: token.map(InvitationToken::to_wire).unwrap_or_default(),
        device: default_device(),
        device_key: Bytes::copy_from_slice(&device.public().0),
        device_proof: Bytes::copy_from_slice(&device.sign_entry(&link.exported()?)),
    };
    let granted = link.granted(Kind::EnterAsGuest(enter)).await?;
    link.close().await;
    let token = FixedToken::new(granted.token.to_vec())
        .ok_or(ApiError::Malformed("a session whose token is none"))?;
    let shown = granted.account.unwrap_or_default().username;
    let shown = shown
        .parse::<Username>()
        .map_err(|_| ApiError::Malformed("a session whose account has no name"))?;
    print_on_stderr(&format!("You are here as the guest {shown}."));
    Ok(access.by_token(token))
}

/// Makes sure that there is the conference of a link, and that its invitation counts.
pub(super) async fn enter(context: &Context, place: &ConferenceLink) -> Result<(), Failure> {
    let (_, link) = context.signed_in().await?;
    let entered = match invitation_of(place) {
        Some(redeem) => link
            .conference(Kind::RedeemInvitation(redeem))
            .await
            .map(|_| ()),
        None => open_conference(&link, &place.slug).await,
    };
    link.close().await;
    Ok(entered?)
}

/// The invitation of a link, if it has one.
pub(super) fn invitation_of(link: &ConferenceLink) -> Option<wire::RedeemInvitation> {
    let token = link.invitation.as_ref()?.to_wire();
    let slug = link.slug.to_string();
    Some(wire::RedeemInvitation { slug, token })
}

/// Opens the conference if there is none of that name: on a new server the first one who comes does.
async fn open_conference(link: &Link, slug: &Slug) -> Result<(), ApiError> {
    let info = wire::ConferenceInfo {
        slug: slug.to_string(),
    };
    match link.request(Kind::ConferenceInfo(info)).await {
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
        // Whatever else is the matter, the join says it.
        _ => return Ok(()),
    }
    let create = wire::CreateConference {
        slug: slug.to_string(),
        visibility: wire::Visibility::Public.into(),
        ..wire::CreateConference::default()
    };
    link.request(Kind::CreateConference(create)).await?;
    print_on_stderr(&format!(
        "There was no conference {slug} yet: you have opened it."
    ));
    Ok(())
}

/// Reads a link from the first line of standard input.
pub(super) async fn read_link() -> Result<ConferenceLink, Failure> {
    let line = meet::read_line().await?;
    let bad = |error: BadLink| Failure::usage(format!("the first line of standard input: {error}"));
    line.parse().map_err(bad)
}
