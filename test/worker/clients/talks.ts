import { readFileSync } from 'node:fs'
import type { AgentOptions } from '#agents/agent-options.ts'
import { NO_BUDGETS } from '#agents/budget.ts'
import type { ClientTalk } from '../../../services/worker/clients/client-driver.ts'
import { clientDriver } from '../../../services/worker/clients/client-driver-of.ts'
import type { S2Tools } from '../../../services/worker/clients/s2-tools.ts'

/** The instant at which the recorded talks take place, 14:52 UTC. */
export const NOW = Date.UTC(2026, 10, 30, 14, 52)

export const OPTIONS = { model: null, permissionMode: null, allowedTools: [], budgets: NO_BUDGETS } as const

/** The lines that a real client printed. */
export function recorded(name: string): string[] {
  return readFileSync(new URL(`recorded/${name}.jsonl`, import.meta.url), 'utf8')
    .trim()
    .split('\n')
}

interface Heard {
  readonly talk: ClientTalk
  readonly sent: readonly unknown[]
  readonly shown: readonly string[]
  readonly sessions: readonly string[]
  readonly finished: number
  readonly signs: number
}

/** What a driver makes of lines. */
export function hear(
  client: AgentOptions['client'],
  lines: readonly (string | object)[],
  resumed: string | null = null,
  tools: S2Tools | null = null,
): Heard {
  const sent: unknown[] = []
  const shown: string[] = []
  const sessions: string[] = []
  let [finished, signs] = [0, 0]
  const talk = clientDriver({ client, ...OPTIONS }, tools, 'UTC').talk({
    prompt: 'count the ducks',
    resumed,
    folder: '/project',
    isTrusted: true,
    now: () => NOW,
    send: (message) => void sent.push(message),
    show: (line) => void shown.push(line),
    noteWork: () => {
      signs += 1
    },
    noteSession: (id) => void sessions.push(id),
    finish: () => {
      finished += 1
    },
  })
  talk.begin()
  for (const line of lines) talk.hear(typeof line === 'string' ? JSON.parse(line) : line)
  return { talk, sent, shown, sessions, finished, signs }
}
