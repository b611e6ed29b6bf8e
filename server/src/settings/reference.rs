//! The one list of all settings: what `holdfastd settings` prints, what the command line is built from, and
//! what a settings file and the environment are read by.

use std::fmt::Write as _;

/// What a setting's text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text: a path, an address, a name.
    Text,
    /// `true` or `false`; as a flag it may stand alone.
    Switch,
    /// A number of bytes, such as `64MiB`.
    Bytes,
    /// A duration, such as `10m`.
    Duration,
    /// A whole number.
    Number,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true`, `false`, or names joined by commas; as a flag it may stand alone.
    SwitchOrNames,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name in a settings file; a dot stands for a table.
    pub key: &'static str,
    /// Its flag, without the dashes: its name with dashes. A secret has none: command lines are seen by everybody on
    /// a machine.
    pub flag: Option<&'static str>,
    /// Its environment variable.
    pub variable: &'static str,
    /// What its text means.
    pub kind: ValueKind,
    /// What holds where nothing is set; empty for "none".
    pub default: &'static str,
    /// What it does, in a sentence.
    pub meaning: &'static str,
}

macro_rules! setting {
    ($key:literal, $flag:expr, $variable:literal, $kind:expr, $default:literal, $meaning:literal) => {
        Setting {
            key: $key,
            flag: $flag,
            variable: $variable,
            kind: $kind,
            default: $default,
            meaning: $meaning,
        }
    };
}

use ValueKind::{Bytes, Choice, Duration, Number, Switch, SwitchOrNames, Text};

/// All settings, in the order in which they are explained.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    setting!("data", Some("data"), "HOLDFAST_DATA", Text, "",
        "the directory that holds store/, index/, spool/ and LOCK; with a bucket as store all of it is disposable"),
    setting!("listen", Some("listen"), "HOLDFAST_LISTEN", Text, "127.0.0.1:7350",
        "HOST:PORT to listen on, for gRPC and HTTP, in clear text and TLS; port 0 takes a free one"),
    setting!("public_url", Some("public-url"), "HOLDFAST_PUBLIC_URL", Text, "",
        "how clients reach this server, such as https://forge.example.org; without it data addresses repeat the authority of the request and the scheme that x-forwarded-proto names"),
    setting!("store", Some("store"), "HOLDFAST_STORE", Text, "local",
        "where everything is kept: local for <data>/store, or s3://BUCKET/PREFIX"),
    setting!("s3.endpoint", Some("s3-endpoint"), "HOLDFAST_S3_ENDPOINT", Text, "",
        "address of an S3-compatible server; without it Amazon's for the region"),
    setting!("s3.path_style", Some("s3-path-style"), "HOLDFAST_S3_PATH_STYLE", Switch, "false",
        "the bucket is the first part of the path and not of the host name"),
    setting!("s3.region", Some("s3-region"), "HOLDFAST_S3_REGION", Text, "",
        "the region that requests are signed for; without it us-east-1 where s3.endpoint is set, else that of Amazon's tools, such as AWS_REGION, or us-east-1"),
    setting!("s3.public_endpoint", Some("s3-public-endpoint"), "HOLDFAST_S3_PUBLIC_ENDPOINT", Text, "",
        "address under which clients reach the S3 server, for presigned data; without it s3.endpoint"),
    setting!("s3.access_key_id", Some("s3-access-key-id"), "HOLDFAST_S3_ACCESS_KEY_ID", Text, "",
        "access key; without it the usual sources of Amazon's tools, such as AWS_ACCESS_KEY_ID"),
    setting!("s3.secret_access_key", None, "HOLDFAST_S3_SECRET_ACCESS_KEY", Text, "",
        "secret of the access key"),
    setting!("s3.secret_access_key_file", Some("s3-secret-access-key-file"), "HOLDFAST_S3_SECRET_ACCESS_KEY_FILE", Text, "",
        "a file whose first line is the secret of the access key"),
    setting!("data_delivery", Some("data-delivery"), "HOLDFAST_DATA_DELIVERY", Choice(&["server", "presigned"]), "server",
        "who sends table files to clients: this server, or the bucket by presigned addresses"),
    setting!("tls.cert", Some("tls-cert"), "HOLDFAST_TLS_CERT", Text, "",
        "PEM file with the certificate chain; read again when it changes"),
    setting!("tls.key", Some("tls-key"), "HOLDFAST_TLS_KEY", Text, "",
        "PEM file with the private key; read again when it changes"),
    setting!("require_tls", Some("require-tls"), "HOLDFAST_REQUIRE_TLS", Switch, "false",
        "refuse what comes in clear text, but for probes: /live, /ready and the health service; needs tls.cert"),
    setting!("open", Some("open"), "HOLDFAST_OPEN", Switch, "false",
        "everybody may read and write; only on a loopback address"),
    setting!("open_to_the_network", Some("open-to-the-network"), "HOLDFAST_OPEN_TO_THE_NETWORK", Switch, "false",
        "with open: on any address"),
    setting!("read_only", Some("read-only"), "HOLDFAST_READ_ONLY", Switch, "false",
        "nobody may write"),
    setting!("reads", Some("reads"), "HOLDFAST_READS", Choice(&["public", "token"]), "token",
        "who may read: everybody, or only callers with the administrator token; where it is not set, a store that an older version made stays public. Addresses of data that were given out end when it becomes token, but for presigned ones"),
    setting!("admin_token", None, "HOLDFAST_ADMIN_TOKEN", Text, "",
        "the administrator token: the password of Basic with any user name, or a Bearer"),
    setting!("admin_token_file", Some("admin-token-file"), "HOLDFAST_ADMIN_TOKEN_FILE", Text, "",
        "a file whose first line is the administrator token"),
    setting!("address_key", Some("address-key"), "HOLDFAST_ADDRESS_KEY", Number, "1",
        "number of the key that signs addresses of data, kept under keys/ in the store; add one to rotate it: what the one before signed stays good, what was signed earlier ends"),
    setting!("features_off", Some("features-off"), "HOLDFAST_FEATURES_OFF", Text, "",
        "features of the protocol not to be offered, joined by commas: stream-chunk-locations, reflection"),
    setting!("accept_unknown_chunks", Some("accept-unknown-chunks"), "HOLDFAST_ACCEPT_UNKNOWN_CHUNKS", SwitchOrNames, "false",
        "the repositories, joined by commas, that take chunks of kinds and with fields that this version does not know, or true for all; nothing of such a repository is ever collected"),
    setting!("upload.free_floor", Some("upload-free-floor"), "HOLDFAST_UPLOAD_FREE_FLOOR", Bytes, "1GiB",
        "free space on the disk of <data> below which uploads are refused"),
    setting!("upload.spool_limit", Some("upload-spool-limit"), "HOLDFAST_UPLOAD_SPOOL_LIMIT", Bytes, "256GiB",
        "how many bytes all unfinished uploads together may take on disk; more wait"),
    setting!("upload.spool_share", Some("upload-spool-share"), "HOLDFAST_UPLOAD_SPOOL_SHARE", Number, "50",
        "how many percent of upload.spool_limit the unfinished uploads of one peer, and so a single file, may take; more wait, and a longer file is refused"),
    setting!("upload.decoded_limit", Some("upload-decoded-limit"), "HOLDFAST_UPLOAD_DECODED_LIMIT", Bytes, "",
        "how many bytes the chunks of one file may have decoded; without it nothing bounds what a file may stand for. A dolt sends 1 GiB of stored chunks in one, which are several times that decoded"),
    setting!("upload.threads", Some("upload-threads"), "HOLDFAST_UPLOAD_THREADS", Number, "0",
        "threads that check uploads and read files; 0 for one per processor, at least two"),
    setting!("upload.checks", Some("upload-checks"), "HOLDFAST_UPLOAD_CHECKS", Number, "16",
        "received files that are checked at once; more wait for their turn"),
    setting!("index.cache", Some("index-cache"), "HOLDFAST_INDEX_CACHE", Bytes, "64MiB",
        "memory for the filters of the chunk index: some two bytes a chunk"),
    setting!("index.places", Some("index-places"), "HOLDFAST_INDEX_PLACES", Bytes, "64MiB",
        "memory for the places of fresh chunks and of those asked for last: some 100 bytes a chunk"),
    setting!("retired.keep", Some("retired-keep"), "HOLDFAST_RETIRED_KEEP", Duration, "72h",
        "how long the bytes of a file stay after it was merged into a larger one, or was damaged and sent again; at least 56h, so that no address of it is good any more"),
    setting!("network.max_connections", Some("network-max-connections"), "HOLDFAST_NETWORK_MAX_CONNECTIONS", Number, "8192",
        "connections served at once; more wait, and probes are answered on them: /live, /ready and the health service"),
    setting!("network.max_connections_per_peer", Some("network-max-connections-per-peer"), "HOLDFAST_NETWORK_MAX_CONNECTIONS_PER_PEER", Number, "1024",
        "connections served at once that come from one peer, an IPv4 address or an IPv6 network of 64 bits, but for trusted proxies; more wait. A dolt keeps up to 256"),
    setting!("network.max_requests_per_peer", Some("network-max-requests-per-peer"), "HOLDFAST_NETWORK_MAX_REQUESTS_PER_PEER", Number, "2048",
        "requests of one peer that run at once; more wait, and four times as many are taken"),
    setting!("network.trusted_proxies", Some("network-trusted-proxies"), "HOLDFAST_NETWORK_TRUSTED_PROXIES", Text, "",
        "addresses and networks of proxies, joined by commas, such as 127.0.0.1,10.0.0.0/8: the peer of a request that comes from there is the last one in x-forwarded-for that is none of them"),
    setting!("stop.grace", Some("stop-grace"), "HOLDFAST_STOP_GRACE", Duration, "5s",
        "how long the port stays open at least after a signal to stop, so that a balancer sees /ready answer 503"),
    setting!("stop.quiet", Some("stop-quiet"), "HOLDFAST_STOP_QUIET", Duration, "5s",
        "how long nothing must have run before a server that shall stop closes its port; until then what belongs to a clone or a push goes on"),
    setting!("stop.timeout", Some("stop-timeout"), "HOLDFAST_STOP_TIMEOUT", Duration, "10m",
        "how long requests and streams that run may go on after a signal to stop; at the latest after half of it the port closes"),
    setting!("log.format", Some("log-format"), "HOLDFAST_LOG_FORMAT", Choice(&["text", "json"]), "text",
        "how log lines on stderr look"),
    setting!("log.filter", Some("log-filter"), "HOLDFAST_LOG_FILTER", Text, "info",
        "which log lines are written: error, warn, info, debug, trace, or directives of tracing-subscriber"),
];

/// Finds a setting by its name in a settings file.
pub fn by_key(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The environment variable of a setting with this name.
pub fn variable_of(key: &str) -> String {
    format!("HOLDFAST_{}", key.to_uppercase().replace('.', "_"))
}

/// The flag of a setting with this name, where it has one.
pub fn flag_of(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

/// Returns the reference as text: of each setting its name, flag, variable, default and meaning.
pub fn as_text() -> String {
    let mut text = String::new();
    for setting in SETTINGS {
        let flag = match (setting.flag, setting.kind) {
            (None, _) => "(none, a secret)".to_owned(),
            (Some(flag), Switch) => format!("--{flag}"),
            (Some(flag), SwitchOrNames) => format!("--{flag}[=NAMES]"),
            (Some(flag), Choice(words)) => format!("--{flag} {}", words.join("|")),
            (Some(flag), Text | Bytes | Duration | Number) => format!("--{flag} VALUE"),
        };
        let default = if setting.default.is_empty() {
            "(none)"
        } else {
            setting.default
        };
        let Setting {
            key,
            variable,
            meaning,
            ..
        } = setting;
        writeln!(
            text,
            "{key}\n    flag         {flag}\n    environment  {variable}\n    default      {default}\n    {meaning}\n"
        )
        .expect("writing to a String cannot fail");
    }
    text
}

/// Returns the reference as a settings file in which every line is a comment.
pub fn as_toml() -> String {
    let mut text = String::new();
    let mut table = "";
    let (plain, nested): (Vec<&Setting>, Vec<&Setting>) = SETTINGS
        .iter()
        .partition(|setting| !setting.key.contains('.'));
    for setting in plain.into_iter().chain(nested) {
        let (group, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if group != table {
            writeln!(text, "[{group}]\n").expect("writing to a String cannot fail");
            table = group;
        }
        let value = match setting.kind {
            Switch | Number => setting.default.to_owned(),
            Text | Bytes | Duration | Choice(_) | SwitchOrNames => {
                format!("{:?}", setting.default)
            }
        };
        writeln!(text, "# {}\n# {name} = {value}\n", setting.meaning)
            .expect("writing to a String cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_the_key_in_capitals() {
        for setting in SETTINGS {
            assert_eq!(setting.variable, variable_of(setting.key));
        }
    }

    #[test]
    fn a_flag_is_the_key_with_dashes() {
        for setting in SETTINGS {
            let secrets = ["admin_token", "s3.secret_access_key"];
            let is_secret = secrets.contains(&setting.key);
            let expected = Some(flag_of(setting.key)).filter(|_| !is_secret);
            assert_eq!(setting.flag, expected.as_deref());
        }
    }

    #[test]
    fn no_two_settings_share_a_name() {
        for (i, setting) in SETTINGS.iter().enumerate() {
            for other in &SETTINGS[i + 1..] {
                assert_ne!(setting.key, other.key);
                assert!(setting.flag.is_none() || setting.flag != other.flag);
            }
        }
    }

    #[test]
    fn the_example_file_is_toml() {
        let uncommented: String = as_toml()
            .lines()
            .map(|line| {
                let assignment = line.strip_prefix("# ").filter(|rest| {
                    rest.split_once(" = ").is_some_and(|(name, _)| {
                        name.bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
                    })
                });
                format!("{}\n", assignment.unwrap_or(line))
            })
            .collect();
        let table: toml::Table = uncommented.parse().unwrap();
        assert_eq!(table["stop"]["timeout"].as_str(), Some("10m"));
        assert_eq!(table["open"].as_bool(), Some(false));
    }
}
