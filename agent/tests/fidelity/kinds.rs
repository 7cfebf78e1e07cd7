//! Every kind of `docker run` option, as it is typed.
//!
//! In options, `@` stands for the prefix of this run (`@db` is a container or network of the [`crate::stage`]), `%` for what
//! [`crate::stage`] puts in, and `~` for a space inside a word.

/// Which test a kind belongs to; the sections of `docs/fidelity.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Identity,
    Network,
    Data,
    Host,
}

/// Images that differ in every default, those with a command only, and those that carry what only containers should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    App,
    Bare,
    Committed,
}

/// What the container does when it is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Created,
    Exited,
    Paused,
}

/// One kind of container.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) group: Group,
    pub(crate) family: Family,
    pub(crate) options: &'static str,
    /// What stands behind the image's name.
    pub(crate) arguments: &'static str,
    /// Options of each `docker network connect`, with the network's name last.
    pub(crate) connects: &'static [&'static str],
    pub(crate) state: State,
    /// The body of the creation, where no option of the client says it.
    pub(crate) body: Option<&'static str>,
    /// Why an engine may be unable to make such a container by hand. Without a reason, it must be able to.
    pub(crate) may_lack: Option<&'static str>,
}

const fn kind(group: Group, name: &'static str, options: &'static str) -> Kind {
    Kind {
        name,
        group,
        family: Family::App,
        options,
        arguments: "",
        connects: &[],
        state: State::Running,
        body: None,
        may_lack: None,
    }
}

const fn identity(name: &'static str, options: &'static str) -> Kind {
    kind(Group::Identity, name, options)
}

const fn network(name: &'static str, options: &'static str) -> Kind {
    kind(Group::Network, name, options)
}

const fn data(name: &'static str, options: &'static str) -> Kind {
    kind(Group::Data, name, options)
}

const fn host(name: &'static str, options: &'static str) -> Kind {
    kind(Group::Host, name, options)
}

impl Kind {
    const fn of(self, family: Family) -> Self {
        Self { family, ..self }
    }

    const fn running(self, arguments: &'static str) -> Self {
        Self { arguments, ..self }
    }

    const fn then(self, connects: &'static [&'static str]) -> Self {
        Self { connects, ..self }
    }

    const fn in_state(self, state: State) -> Self {
        Self { state, ..self }
    }

    const fn with_body(self, body: &'static str) -> Self {
        Self { body: Some(body), ..self }
    }

    const fn where_possible(self, reason: &'static str) -> Self {
        Self { may_lack: Some(reason), ..self }
    }
}

/// All kinds.
pub(crate) const KINDS: &[Kind] = &[
    identity("plain", ""),
    identity("env", "-e GREETING=mine -e EMPTY= -e COLOR=red -e LEVEL -e OWN=a=b"),
    identity("env_repeated", "-e Z=1 -e A=2 -e Z=3"),
    identity("env_file", "--env-file %dir/env"),
    identity("cmd", "").running("300"),
    identity("entrypoint", "--entrypoint sh").running("/bin/rest 300"),
    identity("entrypoint_alone", "--entrypoint rest"),
    identity("entrypoint_empty", "--entrypoint=").running("rest 300"),
    identity("bare", "").of(Family::Bare),
    identity("bare_cmd", "").of(Family::Bare).running("rest 300"),
    identity("bare_entrypoint", "--entrypoint rest").of(Family::Bare).running("300"),
    identity("labels", "-l tier=mine -l own=1 -l empty= -l nightshift.app=web"),
    identity(
        "compose",
        "-l com.docker.compose.image=sha256:0 -l com.docker.compose.project=shop -l com.docker.compose.service=web \
         -l com.docker.compose.config-hash=abc -l com.docker.compose.depends_on= --network @front --network-alias web",
    ),
    identity("workdir", "--workdir /tmp"),
    identity("user", "--user 0:0"),
    identity("group_add", "--group-add 7"),
    identity("healthcheck_partly", "--health-interval 25s --health-retries 9"),
    identity("healthcheck_cmd", "--health-cmd true~mine --health-timeout 2s --health-start-period 4s"),
    identity("healthcheck_none", "--no-healthcheck"),
    identity("stop", "--stop-signal SIGUSR1 --stop-timeout 3"),
    identity("hostname", "--hostname web --domainname example.test"),
    identity("uts_host", "--uts host"),
    identity("tty", "-t -i"),
    identity("attached", "-a stdout -a stderr"),
    identity("committed", "").of(Family::Committed),
    identity("state_created", "-p 27001:80").in_state(State::Created),
    identity("state_exited", "--entrypoint true").in_state(State::Exited),
    identity("state_paused", "").in_state(State::Paused),
    network("ports", "-p 27002:80 -p 127.0.0.1:27003:53/udp -p 90 -p 27004-27005:7000-7001"),
    network("publish_all", "-P"),
    network("expose", "--expose 99 --expose 5000-5001/udp"),
    network("network", "--network @front"),
    network(
        "network_static",
        "--network @front --ip %v4.9 --ip6 %v6::9 --network-alias web --network-alias www --link-local-ip 169.254.3.4",
    ),
    network("networks", "--network @front --network-alias web").then(&["--alias api --ip %other.9 @back", "@plain"]),
    network("networks_bridge", "--network @front").then(&["bridge"]),
    network("bridge_networks", "").then(&["--alias api @back"]),
    network("network_plain", "--network @plain --hostname own"),
    network("network_host", "--network host"),
    network("network_none", "--network none"),
    network("network_container", "--network container:@db"),
    network("network_driver_options", "--network @front --ip %v4.8")
        .then(&["--link @db:database --driver-opt com.example.option=1 @back"]),
    network("mac_address", "--mac-address 02:42:ac:11:00:99"),
    network("mac_address_network", "--network @front --mac-address 02:42:ac:11:00:98"),
    network("link", "--link @db:database --link @shareable"),
    network("link_network", "--network @front --link @store:storage"),
    network("dns", "--add-host a:10.0.0.1 --dns 10.0.0.2 --dns-search example.test --dns-option ndots:2"),
    data("image_volumes", ""),
    data("volume_anonymous", "-v /scratch"),
    data("volume_named", "-v @named:/n -v @other:/o:ro,nocopy"),
    data("volume_at_image_path", "-v @named:/data"),
    data("bind", "-v /etc:/b:ro -v /usr:/v:rprivate"),
    data("tmpfs", "--tmpfs /run:size=1m --tmpfs /data"),
    data("mount_bind", "--mount type=bind,src=/etc,dst=/b,readonly,bind-propagation=rprivate"),
    data("mount_volume", "--mount type=volume,src=@named,dst=/n,readonly,volume-nocopy,volume-label=a=b"),
    data("mount_volume_unnamed", "--mount type=volume,dst=/m,volume-nocopy,volume-label=a=b"),
    data("mount_tmpfs", "--mount type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770"),
    data("volume_driver", "--volume-driver local -v @driven:/d"),
    data("volumes_from", "--volumes-from @store"),
    data("volumes_from_read_only", "--volumes-from @store:ro -v /scratch"),
    host("restart", "--restart on-failure:3"),
    host("restart_always", "--restart always"),
    host("restart_unless_stopped", "--restart unless-stopped"),
    host("cpu", "--cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --cpuset-mems 0"),
    host("cpu_quota", "--cpu-period 50000 --cpu-quota 25000"),
    host("cpu_realtime", "--cpu-rt-period 1000000 --cpu-rt-runtime 950000 --ulimit rtprio=99")
        .where_possible("the kernel must schedule groups in real time (CONFIG_RT_GROUP_SCHED)"),
    host(
        "memory",
        "--memory 64m --memory-swap 128m --memory-reservation 32m --memory-swappiness 10 --oom-score-adj 100 \
         --oom-kill-disable",
    ),
    host("kernel_memory", "--memory 64m --kernel-memory 32m")
        .where_possible("kernels from 5.16 on have no limit of their own memory"),
    host("block_io", "--blkio-weight 300").where_possible("the kernel's I/O scheduler must know weights (bfq)"),
    host("block_io_devices", "--device-read-bps /dev/zero:1mb --device-write-iops /dev/zero:100").where_possible(
        "the kernel takes limits for block devices only, and which ones a machine has is its own matter",
    ),
    host("pids_ulimits", "--pids-limit 100 --ulimit nofile=100:200 --ulimit core=0"),
    host("devices", "--device /dev/null:/dev/nothing:rw --device-cgroup-rule c~1:3~rwm"),
    host("gpus", "--gpus all").where_possible("a graphics card and its runtime must be there"),
    host("capabilities", "--cap-add NET_ADMIN --cap-drop MKNOD"),
    host(
        "security",
        "--security-opt no-new-privileges --security-opt seccomp=unconfined --security-opt systempaths=unconfined",
    ),
    host("security_label", "--security-opt label=disable --security-opt apparmor=unconfined"),
    host("security_profile", "--security-opt seccomp=%dir/seccomp"),
    host("privileged", "--privileged"),
    host("sysctl", "--sysctl net.ipv4.ip_forward=1"),
    host("cgroup", "--cgroup-parent /@parent --cgroupns host"),
    host("cgroupns_private", "--cgroupns private"),
    host("userns_host", "--userns host"),
    host("ipc_host", "--ipc host"),
    host("ipc_private", "--ipc private"),
    host("ipc_none", "--ipc none"),
    host("ipc_shareable", "--ipc shareable"),
    host("ipc_container", "--ipc container:@shareable"),
    host("pid_host", "--pid host"),
    host("pid_container", "--pid container:@db"),
    host("log", "--log-driver local --log-opt max-size=1m --log-opt max-file=2"),
    host("log_none", "--log-driver none"),
    host("init", "--init"),
    host("read_only", "--read-only"),
    host("shm_size", "--shm-size 1m"),
    host("runtime", "--runtime runc --isolation default"),
    host("storage", "--storage-opt size=100m").where_possible("the file system below the engine must have quotas"),
    host("cidfile", "--cidfile %dir/cid"),
    // The engine takes them, and forgets them: that the plan passes on what an engine shows is tested in core.
    host("unknown_keys", "").with_body(r#"{"HostConfig": {"Later": {"deep": [1, null]}}, "Sooner": "mine"}"#),
];
