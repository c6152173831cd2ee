import { hostname } from 'node:os'
import { join } from 'node:path'
import { GUARD_SETTINGS } from './guard-settings.ts'
import { IDENTITY_SETTINGS } from './identity-settings.ts'
import {
  durationBetween,
  integerBetween,
  list,
  listOfAgentUnits,
  listOfHeadAddresses,
  matching,
  parseAddress,
  path,
  rolesByRole,
  STATE_FALLBACK,
  stallActions,
  text,
  unixSocketUrl,
  url,
  word,
  yesNo,
} from './setting-parsers.ts'
import { WAKE_SETTINGS } from './wake-settings.ts'

/** What programs there are; each setting says who reads it. */
export const PROGRAMS = ['bridge', 'keepalive', 'fs-watcher', 'cred-sync', 'watchdog', 'worker', 'local', 's2'] as const
export type ProgramName = (typeof PROGRAMS)[number]

export interface Setting<T = unknown> {
  readonly about: string
  readonly programs: readonly ProgramName[]
  /** As a person would write it. Absent: it may be left out and is then undefined, unless a program demands it. */
  readonly fallback?: string
  /** How documents name a fallback that differs from machine to machine. */
  readonly fallbackSaid?: string
  readonly example: string
  readonly secret?: boolean
  /** Throws an Error that says what is wrong, without repeating the value. */
  readonly parse: (text: string) => T
}

const FIVE: readonly ProgramName[] = ['bridge', 'keepalive', 'fs-watcher', 'cred-sync', 'watchdog']

/** Every setting there is. Unknown `S2_` names are refused by comparison with this list. */
export const SETTINGS = {
  S2_STATE: {
    about: 'Folder that holds what this host keeps: database, inbox, outbox, credentials, sockets.',
    programs: PROGRAMS,
    fallback: STATE_FALLBACK,
    example: '/var/lib/s2',
    parse: path,
  },
  S2_STORE: {
    about: 'Where the fleet is kept. Left out: `bridge.db` in the state folder.',
    programs: ['bridge', 'fs-watcher', 'cred-sync', 'watchdog', 's2'],
    example: 'sqlite:/var/lib/s2/bridge.db',
    parse: matching(
      /^(memory:|(sqlite|unix):\/.*\S|https?:\/\/\S+)$/,
      'must be sqlite:/path, unix:/path, http://…, https://… or memory:',
    ),
  },
  S2_LOG_LEVEL: {
    about: 'The least important kind of event that is logged.',
    programs: FIVE,
    fallback: 'info',
    example: 'debug',
    parse: word(['error', 'warn', 'info', 'debug']),
  },
  S2_HEALTH: {
    about: 'Where health and metrics are answered. Left out: a unix socket `run/<program>.sock` in the state folder.',
    programs: FIVE,
    example: '127.0.0.1:9433',
    parse: parseAddress,
  },
  S2_DRAIN: {
    about: 'How long a program may take to finish what it has in hand when it is stopped.',
    programs: FIVE,
    fallback: '10s',
    example: '20s',
    parse: durationBetween(0, 600_000),
  },
  S2_LISTEN: {
    about: 'Where the bridge listens. Beyond loopback it wants TLS or a proxy in front.',
    programs: ['bridge'],
    fallback: '127.0.0.1:7433',
    example: '0.0.0.0:7433',
    parse: parseAddress,
  },
  S2_BRIDGE_URL: {
    about: 'Address at which workers reach the bridge: it is written into the credentials that are made for them.',
    programs: ['cred-sync', 's2'],
    fallback: 'http://127.0.0.1:7433',
    example: 'https://bridge.example.org',
    parse: url('http:', 'https:'),
  },
  S2_ALLOW_PLAIN_HTTP: {
    about: 'Lets this host speak to a bridge on another machine without TLS, where everybody between can read along.',
    programs: ['keepalive', 'cred-sync', 's2'],
    fallback: 'no',
    example: 'yes',
    parse: yesNo,
  },
  S2_TLS_CERT: {
    about: 'PEM file with the certificate chain of the bridge.',
    programs: ['bridge', 'cred-sync', 's2'],
    example: '/etc/s2/tls/bridge.crt',
    parse: path,
  },
  S2_TLS_KEY: {
    about: 'PEM file with the key of that certificate.',
    programs: ['bridge', 's2'],
    example: '/etc/s2/tls/bridge.key',
    parse: path,
  },
  S2_TLS_CA: {
    about: 'PEM file with the authority that signed it, where others do not know that one: it goes into credentials.',
    programs: ['bridge', 'cred-sync', 's2'],
    example: '/etc/s2/tls/ca.crt',
    parse: path,
  },
  S2_BEHIND_PROXY: {
    about: 'Says that a proxy which speaks TLS stands in front of the bridge.',
    programs: ['bridge'],
    fallback: 'no',
    example: 'yes',
    parse: yesNo,
  },
  S2_ALLOWED_HOSTS: {
    about: 'Names that may stand in the Host header, beside loopback and the address the bridge listens on.',
    programs: ['bridge'],
    fallback: '',
    example: 'bridge.example.org,bridge:7433',
    parse: list,
  },
  S2_ALLOWED_ORIGINS: {
    about: 'Web origins that may call the bridge from a browser.',
    programs: ['bridge'],
    fallback: '',
    example: 'https://fleet.example.org',
    parse: list,
  },
  S2_RATE: {
    about: 'Requests a session may make in a minute; beats are not counted.',
    programs: ['bridge'],
    fallback: '100',
    example: '600',
    parse: integerBetween(1, 10_000_000),
  },
  S2_PEER_MESSAGES: {
    about:
      'Which agents of its fleet a worker may write to beside its orchestrator: `all`, those of its own `role`, or `none`.',
    programs: ['bridge'],
    fallback: 'all',
    example: 'role',
    parse: word(['all', 'role', 'none']),
  },
  S2_MCP: {
    about: 'Whether the bridge answers agents at `/mcp`, by the tools that `s2 mcp` has on their hosts.',
    programs: ['bridge'],
    fallback: 'yes',
    example: 'no',
    parse: yesNo,
  },
  S2_BODY_MAX: {
    about: 'Bytes of the largest request body and frame the bridge reads.',
    programs: ['bridge'],
    fallback: '524288',
    example: '1048576',
    parse: integerBetween(1024, 67_108_864),
  },
  S2_LIFETIME: {
    about: 'How long a conversation lives; it is renewed before it ends while its agent lives.',
    programs: ['bridge', 'cred-sync', 'local', 's2'],
    fallback: '3h',
    example: '12h',
    parse: durationBetween(60_000, 365 * 86_400_000),
  },
  S2_HOUSEKEEPING: {
    about: 'When the bridge forgets what is old, as a cron line.',
    programs: ['bridge'],
    fallback: '17 3 * * *',
    example: '0 4 * * 0',
    parse: matching(/^\S+( \S+){4,5}$/, 'must be a cron line of five or six fields'),
  },
  S2_KEEP: {
    about: 'How long ended tasks, closed incidents, received messages and audit entries stay in the database.',
    programs: ['bridge'],
    fallback: '30d',
    example: '90d',
    parse: durationBetween(3_600_000, 3650 * 86_400_000),
  },
  S2_AUDIT_HEADS: {
    about: 'Where the signed end of the audit trail is kept each minute: `git=REMOTE`, `post=https://…`, or several.',
    programs: ['cred-sync'],
    fallback: '',
    example: 'git=ssh://git@git.example.org/audit.git',
    secret: true,
    parse: listOfHeadAddresses,
  },
  S2_BACKUPS: {
    about: 'Folder that backups of the database lie in. Left out: `backups` in the state folder.',
    programs: ['s2'],
    example: '/srv/backups/s2',
    parse: path,
  },
  S2_BACKUP_KEEP: {
    about: 'How many backups are kept; the newest always is.',
    programs: ['s2'],
    fallback: '14',
    example: '48',
    parse: integerBetween(1, 10_000),
  },
  S2_BACKUP_KEEP_FOR: {
    about: 'How old backups may get before they are removed; the newest never is.',
    programs: ['s2'],
    fallback: '30d',
    example: '7d',
    parse: durationBetween(60_000, 3650 * 86_400_000),
  },
  S2_COMMIT_WAIT: {
    about:
      'How long a commit waits for the list of reserved files; then the list that was read last decides. The whole check takes twice as long at most.',
    programs: ['s2'],
    fallback: '800ms',
    example: '2s',
    parse: durationBetween(100, 60_000),
  },
  S2_HOST: {
    about: 'What this host is called in beats. Two agents with one name here count as one machine.',
    programs: ['keepalive'],
    fallback: hostname(),
    fallbackSaid: "the machine's name",
    example: 'build-box-2',
    parse: matching(/^[\w.:-]{1,100}$/, 'must be up to 100 letters, digits, dots, dashes, colons'),
  },
  S2_BEAT: {
    about:
      'How often a host says that it lives, over an open WebSocket. The watchdog wants S2_LATE_AFTER to be 2.5 times as long.',
    programs: ['keepalive', 'watchdog'],
    fallback: '5s',
    example: '2s',
    parse: durationBetween(50, 300_000),
  },
  S2_BEAT_POLLING: {
    about: 'How often it does so where only plain HTTP gets through.',
    programs: ['keepalive'],
    fallback: '5s',
    example: '15s',
    parse: durationBetween(50, 300_000),
  },
  S2_LATE_AFTER: {
    about: 'An agent not heard of for this long is late: it gets no new work.',
    programs: ['watchdog', 's2'],
    fallback: '15s',
    example: '10s',
    parse: durationBetween(100, 86_400_000),
  },
  S2_SILENT_AFTER: {
    about: 'An agent not heard of for this long is silent: its work is given to others.',
    programs: ['watchdog', 's2'],
    fallback: '60s',
    example: '300s',
    parse: durationBetween(200, 86_400_000),
  },
  S2_ROUND: {
    about: 'How often the watchdog goes through everything, beside the exact deadlines.',
    programs: ['watchdog'],
    fallback: '60s',
    example: '30s',
    parse: durationBetween(200, 60_000),
  },
  S2_WATCH: {
    about: 'How often the watchdog reads the beats.',
    programs: ['watchdog'],
    fallback: '250ms',
    example: '1s',
    parse: durationBetween(10, 5_000),
  },
  S2_MESSAGE_LEASE: {
    about:
      'How long a message stays with an agent that took it from the inbox of its host and does not ack it; then it is handed out again.',
    programs: ['keepalive', 's2'],
    fallback: '15m',
    example: '1h',
    parse: durationBetween(10_000, 7 * 86_400_000),
  },
  S2_LEASE: {
    about:
      'How long a task stays with an agent that does not renew it. Workers must not have a longer one than the watchdog.',
    programs: ['keepalive', 'watchdog', 'worker'],
    fallback: '60s',
    example: '5m',
    parse: durationBetween(500, 86_400_000),
  },
  S2_QUICK_FAILURE: {
    about:
      'A command that fails sooner than this may fail because of its host: another agent tries the task once. `0s` turns that off.',
    programs: ['worker'],
    fallback: '5s',
    example: '2s',
    parse: durationBetween(0, 600_000),
  },
  S2_MOVE_EVERY: {
    about:
      'How long the watchdog waits, after it moved the work of one silent agent, before it moves that of the next.',
    programs: ['watchdog'],
    fallback: '10s',
    example: '30s',
    parse: durationBetween(0, 3_600_000),
  },
  S2_ATTEMPTS_MAX: {
    about: 'How often one task may be begun before it has failed. The pauses between its starts double.',
    programs: ['watchdog'],
    fallback: '5',
    example: '3',
    parse: integerBetween(2, 50),
  },
  S2_PENDING_AFTER: {
    about: 'A task that no agent can take is told of after this long.',
    programs: ['watchdog'],
    fallback: '60s',
    example: '5m',
    parse: durationBetween(0, 86_400_000),
  },
  S2_TAKE_WITHIN: {
    about: 'How long an agent that does nothing else may leave a task untaken before another of its role gets it.',
    programs: ['watchdog'],
    fallback: '2m',
    example: '10m',
    parse: durationBetween(1_000, 86_400_000),
  },
  S2_STALL_AFTER: {
    about:
      'A task that shows no sign of work (output, processor time, children of its command) for this long is told of; after twice this, S2_ON_STALL. At least S2_LEASE.',
    programs: ['watchdog'],
    fallback: '15m',
    example: '1h',
    parse: durationBetween(1_000, 30 * 86_400_000),
  },
  S2_ON_STALL: {
    about:
      'What is done about such a task: `tell` and nothing else, `move` it to another agent (or let its own begin it again, where there is no other), or `end` it as failed; for single agents or roles after commas.',
    programs: ['watchdog'],
    fallback: 'move',
    example: 'move,s2-worker-3=tell,docs=end',
    parse: stallActions,
  },
  S2_FALLBACK: {
    about:
      'Roles that stand in for a role of which no agent can work, in this order; `any` stands for every role. Left out: tasks wait for their role.',
    programs: ['watchdog'],
    fallback: '',
    example: 'tests=review+backend,docs=any',
    parse: rolesByRole,
  },
  S2_DOCKER: {
    about:
      'Socket of the docker engine whose containers labelled `s2.agent` are watched. Left out: no engine is asked.',
    programs: ['watchdog'],
    example: 'unix:///var/run/docker.sock',
    parse: unixSocketUrl,
  },
  S2_TMUX: {
    about: 'Socket of the tmux server whose sessions with the option `@s2_agent` are watched.',
    programs: ['watchdog'],
    example: '/tmp/tmux-1000/default',
    parse: path,
  },
  S2_UNITS: {
    about:
      'Units of systemd that agents run in: `template@*.service`, the instance being the agent, or `agent=unit.service`.',
    programs: ['watchdog'],
    fallback: '',
    example: 'claude@*.service,s2-worker-3=codex.service',
    parse: listOfAgentUnits,
  },
  S2_UNITS_MANAGER: {
    about: 'Whose units those are: the machine’s, or those of the user that the watchdog runs as.',
    programs: ['watchdog'],
    fallback: 'system',
    example: 'user',
    parse: word(['system', 'user']),
  },
  S2_UNITS_RESTART: {
    about: 'Whether such a unit may be started again when it ended. Containers say so by the label `s2.restart=true`.',
    programs: ['watchdog'],
    fallback: 'no',
    example: 'yes',
    parse: yesNo,
  },
  S2_RESTART_AFTER: {
    about: 'How long a dead agent stays so before what it ran in is started again, where that is allowed.',
    programs: ['watchdog'],
    fallback: '30s',
    example: '2m',
    parse: durationBetween(0, 86_400_000),
  },
  S2_RESTARTS_MAX: {
    about: 'How often such an agent is started again within an hour before a human is asked; 0 starts none.',
    programs: ['watchdog'],
    fallback: '3',
    example: '1',
    parse: integerBetween(0, 60),
  },
  S2_ALERT_ON: {
    about:
      'Kinds of incidents that the alert command and address are told of: `all`, a list, or `-kind` for all but that one. The log has all.',
    programs: ['watchdog'],
    fallback: 'all',
    example: '-twins,-supervisor_away',
    parse: list,
  },
  S2_ALERT_EXEC: {
    about: 'Command that is told of incidents: JSON on its standard input. A JSON list is run as it is, else by sh.',
    programs: ['watchdog'],
    example: 'logger -t s2',
    parse: text,
  },
  S2_ALERT_WEBHOOK: {
    about: 'Address that is told of incidents by a POST of JSON.',
    programs: ['watchdog'],
    example: 'https://alerts.example.org/s2',
    secret: true,
    parse: url('http:', 'https:'),
  },
  S2_SOURCE: {
    about: 'What the watcher watches: the message database of this host, or its inbox.',
    programs: ['fs-watcher'],
    fallback: 'inbox',
    example: 'database',
    parse: word(['database', 'inbox']),
  },
  ...WAKE_SETTINGS,
  S2_POLL: {
    about: 'How often a watcher looks even when it heard nothing.',
    programs: ['fs-watcher', 'keepalive'],
    fallback: '250ms',
    example: '100ms',
    parse: durationBetween(5, 250),
  },
  ...IDENTITY_SETTINGS,
  ...GUARD_SETTINGS,
} as const satisfies Record<string, Setting>

export type SettingName = keyof typeof SETTINGS

/** The value a setting has once read: undefined is possible only where there is no fallback. */
export type SettingValue<N extends SettingName> = (typeof SETTINGS)[N] extends { readonly fallback: string }
  ? ReturnType<(typeof SETTINGS)[N]['parse']>
  : ReturnType<(typeof SETTINGS)[N]['parse']> | undefined

/** The default message database of a state folder, as a store URL. */
export function localStore(state: string): string {
  return `sqlite:${join(state, 'bridge.db')}`
}
