import { durationBetween, list, listOfWords, path, text, url } from './setting-parsers.ts'

/** The ways to wake an agent, by the names of the ladder's rungs. */
const WAYS = [
  'inbox_socket',
  'rewake',
  'app_server',
  'codex_queue',
  'tmux',
  'resume',
  'exec',
  'webhook',
  'desktop',
] as const

/** What wakes a client of an agent itself, as S2_WAKE_BY names it: a fleet file says it of a worker whose client a person starts. */
const CLIENT_WAYS = 'inbox_socket,rewake,app_server,codex_queue,tmux'

/** What a fleet file says of such a worker, word for word. */
export const WOKEN_PLACE = `"settings": { "S2_WAKE_BY": "${CLIENT_WAYS}" }`

/** The settings of waking. */
export const WAKE_SETTINGS = {
  S2_WAKE: {
    about: 'Command that wakes the agent: JSON on its standard input. A JSON list is run as it is, else by sh.',
    programs: ['fs-watcher'],
    example: 'notify-send "mail for the agent"',
    parse: text,
  },
  S2_WAKE_TIMEOUT: {
    about: 'How long a wake command may run before it is ended with its children.',
    programs: ['fs-watcher'],
    fallback: '10m',
    example: '60s',
    parse: durationBetween(100, 86_400_000),
  },
  S2_WAKE_FOR: {
    about: 'Agents or sessions of the database that are woken here. Left out: all ends `a`.',
    programs: ['fs-watcher'],
    fallback: '',
    example: 'orchestrator,conv_0123456789abcdef/b',
    parse: list,
  },
  S2_WAKE_BY: {
    about:
      'Ways to wake an agent, in the order in which they are tried until one is read. Left out: `exec` alone where S2_WAKE is set, else all but `resume` and `exec`.',
    programs: ['fs-watcher'],
    example: 'inbox_socket,rewake,tmux,exec',
    parse: listOfWords(WAYS),
  },
  S2_WAKE_WEBHOOK: {
    about: 'Address that is told by a POST of JSON that an agent has mail: https, or http on this host.',
    programs: ['fs-watcher'],
    example: 'https://wake.example.org/s2',
    secret: true,
    parse: url('http:', 'https:'),
  },
  S2_WAKE_WEBHOOK_TOKEN_FILE: {
    about: 'File whose text is sent to that address as bearer token.',
    programs: ['fs-watcher'],
    example: '/etc/s2/wake-token',
    parse: path,
  },
} as const
