//! The source of an image: a web server with one page, made of busybox.

use std::fs;
use std::path::{Path, PathBuf};

/// Puts what every image here is made of into its source.
pub(crate) fn with_busybox(directory: &Path) {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|it| it.exists());
    fs::copy(busybox.expect("scripts/test installs it"), directory.join("busybox")).expect("copied");
}

/// Writes Dockerfile and page. `health` is an applet of busybox, `more` are instructions before the last ones.
pub(crate) fn write(directory: &Path, page: &str, health: &[&str], more: &str) {
    let health = [&["/bin/busybox"], health].concat();
    let dockerfile = format!(
        "FROM scratch\nCOPY busybox /bin/busybox\nCOPY index.html /www/index.html\n{more}VOLUME /data\nSTOPSIGNAL KILL\n\
         CMD [\"/bin/busybox\", \"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]\n\
         HEALTHCHECK --interval=1s --retries=2 CMD {health:?}\n"
    );
    fs::write(directory.join("Dockerfile"), dockerfile).expect("written");
    fs::write(directory.join("index.html"), page).expect("written");
}
