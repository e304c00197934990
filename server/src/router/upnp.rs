//! UPnP: the texts by which an Internet Gateway Device is found, and asked for mappings (WANIPConnection:2).

use std::net::{Ipv4Addr, SocketAddrV4};

use hyper::Uri;

/// Address to which a search is sent.
pub(super) const MULTICAST: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::new(239, 255, 255, 250), 1900);

/// Error code of a router that gives mappings without an end alone.
pub(super) const ONLY_PERMANENT: u32 = 725;
/// Error code of a router where another machine has the port.
pub(super) const CONFLICT: u32 = 718;

/// Types of devices that a search looks for.
pub(super) const TARGETS: [&str; 2] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
];
/// Services that map ports, the best first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// Shown in the router's list of mappings.
const DESCRIPTION: &str = "Confab";

/// The service of a router that maps ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// Where the router takes requests.
    pub(super) at: SocketAddrV4,
    /// The path there.
    pub(super) path: String,
    /// One of [`SERVICES`].
    pub(super) kind: &'static str,
}

/// A mapping to be asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) external: u16,
    pub(super) internal: SocketAddrV4,
    /// Zero: without an end.
    pub(super) seconds: u32,
}

/// A search for one of [`TARGETS`] (UPnP Device Architecture 1.1, §1.3.2).
pub(super) fn search(target: &str) -> String {
    format!(
        "M-SEARCH * HTTP/1.1\r\nHOST: {MULTICAST}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
    )
}

/// The address and path of a router's description, by its answer to a search. `None` if it points to another machine than the one
/// that answered: a router describes itself, and no device may send this program elsewhere.
pub(super) fn location(answer: &[u8], from: Ipv4Addr) -> Option<(SocketAddrV4, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let mut lines = text.lines();
    let is_answer = lines.next()?.starts_with("HTTP/1.1 200");
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let (_, location) = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
    let found = place(location.trim())?;
    (is_answer && *found.0.ip() == from).then_some(found)
}

/// The best service in the description that the router at `at` gives of itself.
pub(super) fn service(description: &str, at: SocketAddrV4) -> Option<Service> {
    let blocks = || description.split("<service>").skip(1);
    SERVICES.into_iter().find_map(|kind| {
        let block = blocks().find(|block| element(block, "serviceType") == Some(kind))?;
        let url = unescape(element(block, "controlURL")?);
        let (at, path) = match place(&url) {
            Some((other, path)) => (*other.ip() == *at.ip()).then_some((other, path))?,
            None if url.starts_with('/') => (at, url),
            None => (at, format!("/{url}")),
        };
        Some(Service { at, path, kind })
    })
}

pub(super) const ADD: &str = "AddPortMapping";
pub(super) const DELETE: &str = "DeletePortMapping";
pub(super) const ADDRESS: &str = "GetExternalIPAddress";

/// Asks for a mapping, by [`ADD`].
pub(super) fn add(service: &Service, wish: Wish) -> String {
    let Wish {
        external,
        internal,
        seconds,
    } = wish;
    let (client, port) = (internal.ip(), internal.port());
    envelope(
        service,
        ADD,
        &format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort><NewProtocol>UDP</NewProtocol>\
             <NewInternalPort>{port}</NewInternalPort><NewInternalClient>{client}</NewInternalClient><NewEnabled>1</NewEnabled>\
             <NewPortMappingDescription>{DESCRIPTION}</NewPortMappingDescription><NewLeaseDuration>{seconds}</NewLeaseDuration>"
        ),
    )
}

/// Removes a mapping, by [`DELETE`].
pub(super) fn delete(service: &Service, external: u16) -> String {
    envelope(
        service,
        DELETE,
        &format!(
            "<NewRemoteHost></NewRemoteHost><NewExternalPort>{external}</NewExternalPort><NewProtocol>UDP</NewProtocol>"
        ),
    )
}

/// Asks for the external address, by [`ADDRESS`].
pub(super) fn address_request(service: &Service) -> String {
    envelope(service, ADDRESS, "")
}

/// The external address in the answer to [`address_request`].
pub(super) fn address(answer: &str) -> Option<Ipv4Addr> {
    element(answer, "NewExternalIPAddress")?.parse().ok()
}

/// The error code in an answer; `None` if it holds none.
pub(super) fn error_code(answer: &str) -> Option<u32> {
    element(answer, "errorCode")?.parse().ok()
}

fn envelope(service: &Service, action: &str, arguments: &str) -> String {
    let kind = service.kind;
    format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{action} xmlns:u=\"{kind}\">{arguments}</u:{action}>\
         </s:Body></s:Envelope>\r\n"
    )
}

/// The text of the first element of this name, which has no others in it.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{name}"))?;
    // Attributes, such as a data type, end with the tag.
    let (_, rest) = rest.split_once('>')?;
    Some(rest.split_once(&format!("</{name}>"))?.0.trim())
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// The IPv4 address, port and path of a URL of a router.
fn place(url: &str) -> Option<(SocketAddrV4, String)> {
    let url: Uri = url.parse().ok()?;
    if url.scheme_str() != Some("http") {
        return None;
    }
    let ip = url.host()?.parse().ok()?;
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let at = SocketAddrV4::new(ip, url.port_u16().unwrap_or(80));
    Some((at, path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
    const AT: SocketAddrV4 = SocketAddrV4::new(ROUTER, 5000);

    fn described(services: &[(&str, &str)]) -> String {
        let blocks = services.iter().map(|(kind, url)| {
            format!("<service>\n<serviceType>{kind}</serviceType>\n<controlURL>{url}</controlURL></service>")
        });
        format!(
            "<root><device><serviceList>{}</serviceList></device></root>",
            blocks.collect::<String>()
        )
    }

    #[test]
    fn an_answer_to_a_search_names_the_place_of_the_description() {
        let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=120\r\nLocation: http://192.168.1.1:5000/root.xml?a=1\r\n\r\n";
        let found = location(answer.as_bytes(), ROUTER);
        assert_eq!(found, Some((AT, "/root.xml?a=1".to_owned())));
        let other = Ipv4Addr::new(192, 168, 1, 66);
        assert_eq!(location(answer.as_bytes(), other), None);
        for bad in [
            "",
            "HTTP/1.1 200 OK\r\n\r\n",
            "NOTIFY * HTTP/1.1\r\nLocation: http://192.168.1.1/\r\n",
        ] {
            assert_eq!(location(bad.as_bytes(), ROUTER), None, "{bad:?}");
        }
        assert_eq!(location(&[0xff; 9], ROUTER), None);
    }

    #[test]
    fn the_best_service_of_a_description_is_taken_and_none_elsewhere() {
        let both = described(&[
            ("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/l3f"),
            (SERVICES[1], "/ctl/one?a=1&amp;b=2"),
            (SERVICES[0], "http://192.168.1.1:5001/ctl/two"),
        ]);
        let two = service(&both, AT).unwrap_or_else(|| unreachable!());
        assert_eq!((two.at.port(), two.path.as_str()), (5001, "/ctl/two"));
        let one = described(&[(SERVICES[1], "ctl/one?a=1&amp;b=2")]);
        let one = service(&one, AT).unwrap_or_else(|| unreachable!());
        assert_eq!((one.at, one.path.as_str()), (AT, "/ctl/one?a=1&b=2"));
        let elsewhere = described(&[(SERVICES[1], "http://198.51.100.1/ctl")]);
        assert_eq!(service(&elsewhere, AT), None);
        assert_eq!(service("<service><serviceType>", AT), None);
    }

    #[test]
    fn requests_and_answers_are_those_of_the_service() {
        let service = Service {
            at: AT,
            path: "/".to_owned(),
            kind: SERVICES[1],
        };
        let wish = Wish {
            external: 4434,
            internal: SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 7), 4433),
            seconds: 1200,
        };
        let asked = add(&service, wish);
        assert_eq!(element(&asked, "NewExternalPort"), Some("4434"));
        assert_eq!(element(&asked, "NewInternalClient"), Some("192.168.1.7"));
        assert_eq!(element(&asked, "NewLeaseDuration"), Some("1200"));
        assert_eq!(element(&delete(&service, 4434), "NewProtocol"), Some("UDP"));
        let told =
            "<a><NewExternalIPAddress dt=\"string\"> 203.0.113.9 </NewExternalIPAddress></a>";
        assert_eq!(address(told), Some(Ipv4Addr::new(203, 0, 113, 9)));
        assert_eq!(
            address("<NewExternalIPAddress></NewExternalIPAddress>"),
            None
        );
        let fault = "<s:Fault><detail><errorCode>725</errorCode></detail></s:Fault>";
        assert_eq!(error_code(fault), Some(ONLY_PERMANENT));
        assert_eq!(error_code(told), None);
    }
}
