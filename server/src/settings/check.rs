//! Turns the gathered texts into [`Settings`], or into every complaint at once.

use std::cmp::Ordering;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_chunkstore::repo::RepoName;
use tracing_subscriber::EnvFilter;

use super::load::{Complaint, Gathered};
use super::reference::{self, ValueKind};
use super::units::{parse_bytes, parse_duration};
use super::{
    AcceptUnknown, AccessSettings, Delivery, LEAST_KEPT, LogFormat, LogSettings, NetworkSettings,
    Origin, Readers, Secret, Settings, StopSettings, StoreSettings, TlsSettings, TransferSettings,
};
use crate::peer::{Network, TrustedProxies};

/// What the settings are checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To serve: everything must be in order.
    Serve,
    /// To read the store: who may listen and read does not matter.
    ReadStore,
    /// To ask a running server: only where it listens matters.
    Probe,
}

/// The features that can be off.
const FEATURES: [&str; 2] = ["stream-chunk-locations", "reflection"];

/// Understands all settings. Files that settings name are read here, once.
pub fn check(gathered: Gathered, purpose: Purpose) -> Result<Settings, Vec<Complaint>> {
    let mut checker = Checker {
        complaints: gathered.complaints.clone(),
        gathered,
    };
    let settings = checker.settings(purpose);
    if checker.complaints.is_empty() {
        Ok(settings)
    } else {
        Err(checker.complaints)
    }
}

struct Checker {
    gathered: Gathered,
    complaints: Vec<Complaint>,
}

impl Checker {
    fn settings(&mut self, purpose: Purpose) -> Settings {
        let data = PathBuf::from(self.text("data"));
        let needs_data = match purpose {
            Purpose::Serve => true,
            Purpose::ReadStore => self.text("store") == "local",
            Purpose::Probe => false,
        };
        if data.as_os_str().is_empty() && needs_data {
            self.complain("data", "must be set: the directory to work in");
        }
        let settings = Settings {
            data,
            listen: self.listen(),
            public_url: self.public_url("public_url"),
            store: self.store(purpose),
            tls: self.tls(),
            require_tls: self.switch("require_tls"),
            address_key: self.address_key(),
            access: self.access(purpose),
            transfer: TransferSettings {
                delivery: match self.choice("data_delivery") {
                    "presigned" => Delivery::Presigned,
                    _ => Delivery::Server,
                },
                stream_chunk_locations: self.offers("stream-chunk-locations"),
                reflection: self.offers("reflection"),
                accept_unknown_chunks: self.accept_unknown_chunks(),
                free_floor: self.bytes("upload.free_floor"),
                spool_limit: self.bytes("upload.spool_limit"),
                spool_share: self.spool_share(),
                decoded_limit: (self.optional("upload.decoded_limit"))
                    .map(|_| self.bytes("upload.decoded_limit")),
                threads: self.number("upload.threads"),
                checks: self.number("upload.checks").max(1),
            },
            index_cache: self.bytes("index.cache"),
            index_places: self.bytes("index.places"),
            retired_keep: self.retired_keep(),
            network: NetworkSettings {
                max_connections: self.number("network.max_connections").max(1),
                max_connections_per_peer: self.number("network.max_connections_per_peer").max(1),
                max_requests_per_peer: self.number("network.max_requests_per_peer").max(1),
                trusted_proxies: self.trusted_proxies(),
            },
            stop: StopSettings {
                grace: self.duration("stop.grace"),
                quiet: self.duration("stop.quiet"),
                timeout: self.duration("stop.timeout"),
            },
            log: LogSettings {
                format: match self.choice("log.format") {
                    "json" => LogFormat::Json,
                    _ => LogFormat::Text,
                },
                filter: self.log_filter(),
            },
        };
        self.check_features();
        if purpose == Purpose::Serve {
            self.check_access(&settings);
        }
        settings
    }

    fn check_access(&mut self, settings: &Settings) {
        let access = &settings.access;
        if access.open && !access.open_to_the_network && !is_loopback(&settings.listen) {
            self.complain(
                "open",
                "lets everybody write, so listen must be a loopback address; set open_to_the_network as well \
                 if everybody on the network is meant",
            );
        }
        if access.open_to_the_network && !access.open {
            self.complain("open_to_the_network", "has no meaning without open");
        }
        // Where the file that may hold it is not read, that is said already.
        let is_told =
            !self.gathered.complaints.is_empty() || self.optional("admin_token_file").is_some();
        if !access.open && access.admin_token.is_none() && !is_told {
            self.complain(
                "admin_token",
                "must be set, here or by admin_token_file, or open for a server that anybody may write to",
            );
        }
        if settings.require_tls && settings.tls.is_none() {
            self.complain("require_tls", "needs tls.cert and tls.key");
        }
        let on_s3 = matches!(settings.store, StoreSettings::S3 { .. });
        if settings.transfer.delivery == Delivery::Presigned && !on_s3 {
            self.complain("data_delivery", "presigned needs a store on s3://");
        }
    }

    fn text(&self, key: &str) -> String {
        self.gathered.text(key).trim().to_owned()
    }

    fn optional(&self, key: &str) -> Option<String> {
        Some(self.text(key)).filter(|text| !text.is_empty())
    }

    fn complain(&mut self, key: &str, reason: impl Into<String>) {
        self.complaints.push(Complaint::new(key, reason));
    }

    fn complain_of_value(&mut self, key: &str, wanted: &str) {
        let reason = format!(
            "{:?} (from {}) is not {wanted}",
            self.text(key),
            self.gathered.origin(key)
        );
        self.complain(key, reason);
    }

    fn switch(&mut self, key: &str) -> bool {
        match self.text(key).as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.complain_of_value(key, "true or false");
                false
            }
        }
    }

    fn bytes(&mut self, key: &str) -> u64 {
        parse_bytes(&self.text(key)).unwrap_or_else(|| {
            self.complain_of_value(key, "a size such as 64MiB");
            0
        })
    }

    fn duration(&mut self, key: &str) -> Duration {
        parse_duration(&self.text(key)).unwrap_or_else(|| {
            self.complain_of_value(key, "a duration such as 10m");
            Duration::ZERO
        })
    }

    fn number(&mut self, key: &str) -> usize {
        self.text(key).parse().unwrap_or_else(|_| {
            self.complain_of_value(key, "a whole number");
            0
        })
    }

    fn choice(&mut self, key: &str) -> &'static str {
        let text = self.text(key);
        let words = match reference::by_key(key).map(|setting| setting.kind) {
            Some(ValueKind::Choice(words)) => words,
            _ => &[],
        };
        if let Some(word) = words.iter().find(|word| **word == text) {
            return word;
        }
        self.complain_of_value(key, &format!("one of {}", words.join(", ")));
        ""
    }

    fn listen(&mut self) -> String {
        let listen = self.text("listen");
        if split_host_port(&listen).is_none() {
            self.complain_of_value("listen", "HOST:PORT");
        }
        listen
    }

    fn public_url(&mut self, key: &str) -> Option<String> {
        let text = self.optional(key)?;
        let good = text.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none()
        });
        if !good {
            self.complain_of_value(key, "an address such as https://forge.example.org");
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    fn store(&mut self, purpose: Purpose) -> StoreSettings {
        let text = self.text("store");
        if text == "local" {
            return StoreSettings::Local;
        }
        let rest = text.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            self.complain_of_value("store", "local or s3://BUCKET/PREFIX");
        }
        let access_key_id = self.optional("s3.access_key_id");
        let secret_access_key = match purpose {
            Purpose::Serve | Purpose::ReadStore => {
                self.secret("s3.secret_access_key", "s3.secret_access_key_file")
            }
            Purpose::Probe => None,
        };
        if purpose != Purpose::Probe && access_key_id.is_some() != secret_access_key.is_some() {
            self.complain(
                "s3.access_key_id",
                "and s3.secret_access_key, or s3.secret_access_key_file, are set both or neither",
            );
        }
        StoreSettings::S3 {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: self.public_url("s3.endpoint"),
            path_style: self.switch("s3.path_style"),
            region: self.optional("s3.region"),
            public_endpoint: self.public_url("s3.public_endpoint"),
            access_key_id,
            secret_access_key,
        }
    }

    fn tls(&mut self) -> Option<TlsSettings> {
        match (self.optional("tls.cert"), self.optional("tls.key")) {
            (Some(cert), Some(key)) => Some(TlsSettings {
                cert: cert.into(),
                key: key.into(),
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                self.complain("tls.cert", "and tls.key are set both or neither");
                None
            }
        }
    }

    fn access(&mut self, purpose: Purpose) -> AccessSettings {
        let readers = match self.choice("reads") {
            "token" => Readers::Token,
            _ => Readers::Everybody,
        };
        let is_said = self.gathered.origin("reads") != Origin::Default;
        AccessSettings {
            open: self.switch("open"),
            open_to_the_network: self.switch("open_to_the_network"),
            read_only: self.switch("read_only"),
            readers: is_said.then_some(readers),
            // It is of use to a server alone, and its file may be readable by that alone.
            admin_token: match purpose {
                Purpose::Serve => self.secret("admin_token", "admin_token_file"),
                Purpose::ReadStore | Purpose::Probe => None,
            },
        }
    }

    /// A secret that stands in a setting, or in the first line of the file that another setting names. The one that
    /// comes from nearer to the command counts: a flag before the environment before the settings file.
    fn secret(&mut self, key: &str, file_key: &str) -> Option<Secret> {
        let direct = self.optional(key);
        let Some(path) = self.optional(file_key) else {
            return direct.map(Secret::new);
        };
        if direct.is_some() {
            match self
                .gathered
                .origin(key)
                .cmp(&self.gathered.origin(file_key))
            {
                Ordering::Greater => return direct.map(Secret::new),
                Ordering::Less => {}
                Ordering::Equal => self.complain(file_key, format!("and {key} are both set")),
            }
        }
        let first_line = match std::fs::read_to_string(&path) {
            Ok(text) => text.lines().next().unwrap_or_default().trim().to_owned(),
            Err(error) => {
                self.complain(file_key, format!("could not read {path}: {error}"));
                return None;
            }
        };
        if first_line.is_empty() {
            self.complain(file_key, format!("{path} begins with an empty line"));
        }
        Some(Secret::new(first_line))
    }

    fn address_key(&mut self) -> u32 {
        let number = self.number("address_key");
        // The one after it is made too.
        match u32::try_from(number) {
            Ok(number @ 1..=9_999) => number,
            _ => {
                self.complain_of_value("address_key", "a number from 1 to 9999");
                1
            }
        }
    }

    fn spool_share(&mut self) -> u8 {
        match u8::try_from(self.number("upload.spool_share")) {
            Ok(percent @ 1..=100) => percent,
            _ => {
                self.complain_of_value("upload.spool_share", "a percentage from 1 to 100");
                100
            }
        }
    }

    fn trusted_proxies(&mut self) -> TrustedProxies {
        const KEY: &str = "network.trusted_proxies";
        let text = self.text(KEY);
        let words = text
            .split(',')
            .map(str::trim)
            .filter(|word| !word.is_empty());
        match words.map(str::parse).collect::<Result<Vec<Network>, _>>() {
            Ok(networks) => TrustedProxies::new(networks),
            Err(_) => {
                let wanted = "addresses and networks such as 127.0.0.1,10.0.0.0/8";
                self.complain_of_value(KEY, wanted);
                TrustedProxies::default()
            }
        }
    }

    fn retired_keep(&mut self) -> Duration {
        let keep = self.duration("retired.keep");
        if keep < LEAST_KEPT {
            let hours = LEAST_KEPT.as_secs() / 3600;
            let wanted =
                format!("at least {hours}h: addresses that were given out are good for so long");
            self.complain_of_value("retired.keep", &wanted);
        }
        keep.max(LEAST_KEPT)
    }

    fn accept_unknown_chunks(&mut self) -> AcceptUnknown {
        const KEY: &str = "accept_unknown_chunks";
        let text = self.text(KEY);
        if !text.contains('/') {
            return match self.switch(KEY) {
                true => AcceptUnknown::Everywhere,
                false => AcceptUnknown::Nowhere,
            };
        }
        let names = text.split(',').map(|name| name.trim().parse());
        match names.collect::<Result<Vec<RepoName>, _>>() {
            Ok(names) => AcceptUnknown::In(names),
            Err(_) => {
                self.complain_of_value(KEY, "true, false, or names such as acme/prod,acme/test");
                AcceptUnknown::Nowhere
            }
        }
    }

    fn log_filter(&mut self) -> String {
        let filter = self.text("log.filter");
        if let Err(error) = EnvFilter::builder().parse(&filter) {
            let wanted = format!("a filter of log lines: {error}");
            self.complain_of_value("log.filter", &wanted);
        }
        filter
    }

    fn offers(&self, feature: &str) -> bool {
        let off = self.text("features_off");
        off.split(',').all(|word| word.trim() != feature)
    }

    fn check_features(&mut self) {
        for word in self.text("features_off").split(',').map(str::trim) {
            if !word.is_empty() && !FEATURES.contains(&word) {
                let features = FEATURES.join(", ");
                let reason = format!("{word:?} is no feature; there are {features}");
                self.complain("features_off", reason);
            }
        }
    }
}

/// Splits `HOST:PORT`; a host that is an IPv6 address stands in brackets.
pub(crate) fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let bracketed = host.strip_prefix('[').map(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(Some(inner)) => Some((inner, port)),
        Some(None) => None,
        None => (!host.is_empty() && !host.contains(':')).then_some((host, port)),
    }
}

/// Whether only this machine can connect to `listen`.
fn is_loopback(listen: &str) -> bool {
    split_host_port(listen).is_some_and(|(host, _)| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_told_from_the_network() {
        for listen in ["127.0.0.1:1", "localhost:80", "[::1]:80", "127.9.9.9:0"] {
            assert!(is_loopback(listen), "{listen}");
        }
        for listen in ["0.0.0.0:1", "[::]:80", "forge.example.org:80", "10.0.0.1:0"] {
            assert!(!is_loopback(listen), "{listen}");
        }
        for listen in ["", "80", ":80", "::1:80", "host:", "host:99999", "[::1:80"] {
            assert_eq!(split_host_port(listen), None, "{listen}");
        }
    }
}
