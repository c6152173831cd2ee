/** How long the longest message takes to be cleared of secrets, by what it is made of. */
import { createHash } from 'node:crypto'
import { TEXT_MAX } from '#fleet/message.ts'
import { redact } from '#fleet/redact.ts'
import { median } from './figures.ts'
import type { Bench } from './row.ts'

const LINE = {
  at: '2026-11-29T04:05:06Z',
  level: 'info',
  program: 'bridge',
  event: 'session joined',
  session: 'conv_1/b',
}

/** Texts of agents and programs, and some that were made to be slow. */
const TEXTS: Readonly<Record<string, string>> = {
  prose: 'The watchdog reads beats and tasks, decides who is silent and which task goes where, and tells people. ',
  log: `${JSON.stringify(LINE)}\n`,
  code: 'export function next(parser: Parser): Token | null {\n  return parser.tokens[parser.at] ?? null\n}\n',
  base64: Array.from({ length: 64 }, (_, index) => createHash('sha512').update(`${index}`).digest('base64')).join(''),
  oneWord: 'a',
  keywords: 'password=',
  secrets: `password: ${['hunt', 'er2'].join('')} and so on\n`,
}
/** What the first five, which people and programs write, have to reach; the others are reported. */
const REACH_MS = 1
const ORDINARY = 5

export const redaction: Bench = async ({ isQuick, say }) => {
  say(`redacting ${TEXT_MAX} characters of ${Object.keys(TEXTS).join(', ')}`)
  return Object.entries(TEXTS).map(([name, unit], index) => {
    const long = unit.repeat(Math.ceil(TEXT_MAX / unit.length)).slice(0, TEXT_MAX)
    const text = Buffer.from(long).toString() // in one piece, as messages come from the network
    const times = Array.from({ length: isQuick ? 20 : 200 }, () => {
      const begin = performance.now()
      redact(text)
      return performance.now() - begin
    })
    const ours = { redactMs: median(times) }
    return {
      what: `redact, ${name}`,
      reach: index < ORDINARY ? { redactMs: REACH_MS } : {},
      ours,
      note: `${TEXT_MAX} characters`,
    }
  })
}
