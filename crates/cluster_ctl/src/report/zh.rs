//! The words in Chinese, see `en.rs`.

use super::words::{Label, Language, PhaseWords};
use failover_rules::report::PhaseKind as P;
use failover_rules::report::said::Word as W;

/// All of them.
pub const CHINESE: Language = Language {
    code: "zh",
    seconds: "秒",
    minutes: "分",
    hours: "小时",
    between_settings: "、",
    sentences: &SENTENCES,
    phases: &PHASES,
    labels: &LABELS,
};

const SENTENCES: [(W, &str); 86] = [
    (W::LastHeartbeat, "{host} 的最后一次心跳"),
    (W::LastWord, "{host} 上数据库的最后一行日志，此后它就消失了"),
    (W::PoolLeaves, "{host} 上的 pool 通知自己正在关闭"),
    (W::PoolLost, "与 {host} 上的 pool 失去联系"),
    (W::LeaderLost, "pool 集群失去了 leader"),
    (W::OnlyPool, "{host} 上的 pool 把自己设为 leader"),
    (W::BecameLeader, "{host} 上的 pool 成为 leader"),
    (W::PoolVip, "{host} 上的 pool 获得集群 VIP {vip}"),
    (W::DatabaseStops, "数据库报告自己正在关闭"),
    (W::ServerStops, "{host} 上的数据库收到停止请求（{how}）"),
    (W::ServerDown, "{host} 上的数据库已关闭"),
    (W::ServerDied, "{host} 上的数据库崩溃：{why}"),
    (W::FirstTry, "数据库健康检查第一次失败"),
    (W::LastTry, "第 {round} 次检查失败，这是最后一次"),
    (W::NoConnection, "无法连接 {host} 上的数据库：{why}"),
    (W::NodeDown, "pool 把节点 {node} 设为 down"),
    (W::VotesWanted, "故障切换等待其他 pool 同意"),
    (W::VotesGiven, "各 pool 已达成一致"),
    (
        W::Quarantine,
        "有一个 pool 不再使用 {host}，其他 pool 没有同意",
    ),
    (
        W::CommandByLeader,
        "由 {host} 执行切换命令：它的 pool 从 {since} 起是 leader",
    ),
    (W::CommandByLock, "由 {host} 执行切换命令：它的 pool 持有锁"),
    (W::CommandGoesOn, "切换命令继续执行"),
    (W::ScriptBegins, "{host} 上的切换脚本开始"),
    (W::TrustIpAnswers, "信任网关有应答：本机网络正常"),
    (W::TrustIpSilent, "信任网关都没有应答：被隔离的是本机"),
    (W::NoLogin, "无法登录 {host}：{why}"),
    (W::OldFenced, "原主库已被隔离：{why}"),
    (W::OldUnreachable, "原主库不可达：{why}"),
    (W::OldAlive, "原主库仍存活，可能接受写入：{why}"),
    (W::DatabaseVip, "数据库 VIP 转到 {host}"),
    (W::PromotionBegins, "开始提升 {host}"),
    (W::Promoted, "提升完成"),
    (W::NewTimeline, "{host} 进入时间线 {timeline}"),
    (W::Asynchronous, "提交不再等待备库（同步改为异步）"),
    (W::Checkpoint, "执行检查点"),
    (W::Refused, "故障切换失败：{why}"),
    (W::ScriptEnds, "切换脚本结束"),
    (W::NewPrimary, "pool 找到新主库：节点 {node}"),
    (W::NoPrimary, "pool 没有找到主库"),
    (W::ClientsAgain, "切换结束，客户端可以重新连接"),
    (W::NotOver, "日志到此为止，切换尚未结束"),
    (W::RecoveryBegins, "{host} 上的恢复开始"),
    (W::NodeIsDown, "pool 中 {host} 为 down"),
    (W::Decided, "决定：{what}"),
    (
        W::Looks,
        "检查 {host} 是否在复制 {round}/{most} 次，均无果：它的数据库没有运行",
    ),
    (W::Needed, "{host} 需要从 {primary} 恢复"),
    (W::Parts, "两个历史在时间线 {timeline} 的 {position} 处分叉"),
    (W::Rewound, "rewind 完成"),
    (W::Starts, "启动 {host} 上的数据库"),
    (W::Streams, "{host} 已作为备库运行"),
    (W::Synchronous, "主库恢复为同步"),
    (W::Attached, "{host} 已加入 pool"),
    (W::RecoveryEnds, "恢复成功"),
    (W::RecoveryFailed, "恢复失败：{why}"),
    (W::RecoveryUnended, "日志没有说明恢复的结果"),
    (W::FailbackDone, "{host} 已回到 pool"),
    (W::StepFailed, "{step}:{why}"),
    (
        W::NothingLostClean,
        "无：原主库正常关闭，并且等到了它的最后一条记录",
    ),
    (
        W::NothingLostSync,
        "就日志所见，没有丢失已确认的数据：切换改为异步之前，集群是同步的",
    ),
    (W::LossUnknown, "未知：日志没有说明提交是否等待备库"),
    (
        W::LossPossible,
        "可能有：提交不等待备库，原主库在 {position} 之后写入而未被接收的内容已被 rewind 丢弃",
    ),
    (W::OneWriterFenced, "一个：原主库 {host} 已被隔离（{why}）"),
    (
        W::OneWriterDown,
        "一个：{host} 上的数据库在 {at} 已关闭，早于提升",
    ),
    (
        W::OneWriterDead,
        "就日志所见为一个：{host} 在 {at} 正在关闭，之后没有应答",
    ),
    (
        W::TwoWriters,
        "两个：在 {from} 提升之后，{host} 上的数据库仍作为主库运行了 {for}",
    ),
    (
        W::WritersUnknown,
        "未知：无法停止 {host} 上的数据库，这里也没有它的日志",
    ),
    (W::NothingRefused, "无"),
    (W::WasRefused, "{why}"),
    (W::NobodyPromoted, "没有节点被提升，日志没有说明原因"),
    (W::RedundancyBack, "{at} 恢复，历时 {after}"),
    (W::RedundancyMissing, "没有日志说明恢复过"),
    (
        W::ClockOff,
        "{log}（{host}）：它的时钟相差 {by}，时间已校正",
    ),
    (
        W::ZoneOff,
        "{log}（{host}）：它在另一个时区，相差 {by}，时间已校正",
    ),
    (W::ClocksAgree, "各日志的时钟一致"),
    (
        W::ClockAsWritten,
        "{log}：其中没有其他日志也看到的事件，时间按原样使用",
    ),
    (
        W::OtherCluster,
        "{log}：它提到的主机其他日志都不认识，属于另一个集群，已略去",
    ),
    (W::Unreadable, "{log}：读取失败：{why}"),
    (W::Torn, "{log}：压缩数据中断（{why}），之前的部分已读取"),
    (W::Packed, "{log}：用 {how} 压缩，无法读取，请先解压"),
    (W::Binary, "{log}：不是文本，已略去"),
    (
        W::Timeless,
        "{log}：{count} 行没有时间，已略去：log_line_prefix 需要 %t 或 %m",
    ),
    (W::Yearless, "{log}：行中没有年份，采用文件的年份"),
    (
        W::TooMany,
        "{log}：内容过多，略去了最早的 {count} 条：请使用 --since",
    ),
    (W::Skipped, "{log}：文件过长，跳过了开头的 {count} 字节"),
    (W::NoLog, "{log}：不是已知的日志，已略去"),
    (W::Strange, "{log}：有 {count} 行未能理解"),
];

const fn words(name: &'static str, shorter: &'static str, cost: &'static str) -> PhaseWords {
    PhaseWords {
        name,
        shorter,
        cost,
    }
}

const PHASES: [(P, PhaseWords); 22] = [
    (
        P::Notice,
        words(
            "直到第一次检查失败",
            "检查得更频繁：health_check_period=1",
            "每个数据库每秒一个会话",
        ),
    ),
    (
        P::Tries,
        words(
            "反复检查直到节点被设为 down",
            "health_check_max_retries=1、health_check_retry_delay=1、connect_timeout=1000",
            "网络或数据库中断 3 秒也会触发切换",
        ),
    ),
    (
        P::Election,
        words(
            "pool 选举 leader",
            "减小 wd_interval 和 wd_heartbeat_deadtime；增加第三个 pool",
            "繁忙主机上的 pool 更容易失去 leader",
        ),
    ),
    (
        P::PoolVip,
        words(
            "新 leader 获取集群 VIP",
            "if_up_cmd 和 arping_cmd 中不要等待",
            "无",
        ),
    ),
    (
        P::Votes,
        words(
            "各 pool 达成一致并加锁",
            "failover_require_consensus=off",
            "一个 pool 误判就会让所有 pool 切换",
        ),
    ),
    (P::Command, words("切换命令", "", "")),
    (
        P::TrustIp,
        words(
            "本机网络是否正常（信任网关）",
            "第一个应答就足够（failover_stream 即如此）",
            "无",
        ),
    ),
    (
        P::Fence,
        words(
            "停止原主库，或确认其已死",
            "在 ssh 之外同时寻找生命迹象（failover_stream 即如此：PROBE_TIMEOUT=500），死机不再耗费 ssh 超时",
            "这段时间内没有生命迹象的主机视为已死",
        ),
    ),
    (
        P::Vip,
        words(
            "数据库 VIP 迁移",
            "通告后不等待应答（failover_stream 即如此）",
            "无",
        ),
    ),
    (
        P::Promote,
        words("提升", "减少待重放的日志：备库要跟得上", "无"),
    ),
    (
        P::Async,
        words(
            "提交不再等待备库",
            "SYNC_DEGRADE=never",
            "备库回来之前提交会挂起",
        ),
    ),
    (
        P::Checkpoint,
        words(
            "新主库上的检查点",
            "CHECKPOINT_WAIT=1：检查点在数据库中继续进行",
            "紧接着的 rewind 可能要等它",
        ),
    ),
    (
        P::Search,
        words(
            "pool 寻找主库",
            "减小 search_primary_node_timeout",
            "不再等待较慢的提升",
        ),
    ),
    (P::Clients, words("pool 重新接纳客户端", "", "")),
    (P::Look, words("查看：磁盘、网络、pool", "", "")),
    (
        P::Looks,
        words(
            "反复查看没有运行的数据库是否在复制",
            "先问数据库是否在运行（network_rewind 即如此）；或减小 HEALTH_CHECK_MAX_RETRIES",
            "无；次数减少时，仅仅滞后的备库也可能被 rewind",
        ),
    ),
    (
        P::Rewind,
        words("rewind", "减少要复制的内容：切换后尽快恢复", "无"),
    ),
    (P::Files, words("文件与配置", "", "")),
    (P::Start, words("数据库启动", "", "")),
    (
        P::Sync,
        words(
            "主库恢复为同步",
            "看到复制即继续，不作固定等待（network_rewind 即如此）",
            "无",
        ),
    ),
    (P::Attach, words("pool 重新接纳节点", "", "")),
    (P::Step, words("步骤", "", "")),
];

const LABELS: [(Label, &str); 36] = [
    (Label::Title, "发生了什么"),
    (Label::Failover, "故障切换"),
    (Label::StandbyDown, "备库宕机"),
    (Label::Recovery, "恢复"),
    (Label::Of, ""),
    (Label::To, "至"),
    (Label::ClientsWaited, "客户端等待"),
    (Label::ClientsFelt, "客户端"),
    (Label::Promoted, "新主库"),
    (Label::NobodyPromoted, "没有节点被提升"),
    (Label::RunBy, "执行主机"),
    (Label::Run, "运行编号"),
    (Label::Moments, "经过"),
    (Label::Phases, "各阶段耗时"),
    (Label::SetBy, "取决于"),
    (Label::Shorter, "缩短"),
    (Label::Costs, "代价"),
    (Label::Tries, "次"),
    (Label::Could, "全部采用后约为"),
    (Label::InPlaceOf, "而不是"),
    (Label::Verdicts, "结论"),
    (Label::Lost, "数据丢失"),
    (Label::Writers, "写入者"),
    (Label::Refused, "拒绝"),
    (Label::Redundancy, "冗余"),
    (Label::Good, "正常"),
    (Label::Unknown, "未知"),
    (Label::Bad, "注意"),
    (Label::Notes, "文件与时钟"),
    (Label::Read, "行"),
    (Label::Nothing, "日志中没有故障切换，也没有恢复"),
    (Label::MakesUpFor, "对应的故障切换"),
    (Label::LogPool, "pool"),
    (Label::LogServer, "数据库"),
    (Label::LogScript, "脚本"),
    (Label::LogEvents, "事件"),
];
