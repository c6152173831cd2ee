import { readFileSync } from 'node:fs'
import type { Client, ClientSession } from '#agents/client-session.ts'
import { type HookEvent, readHookEvent } from '#agents/hook-event.ts'
import type { HookReport } from '#agents/hook-report.ts'
import { nextSession } from '#agents/next-session.ts'

/** What a client gave its hooks, one line an event, as it was recorded: Claude Code 2.1.332, Codex 0.171.0, Gemini CLI 0.61.0. */
export function recorded(client: 'claude' | 'codex' | 'gemini'): string[] {
  return readFileSync(`test/core/agents/recorded/${client}.jsonl`, 'utf8').trim().split('\n')
}

/** An event of a client that was given these fields; throws where it is none. */
export function event(fields: Readonly<Record<string, unknown>>, client: Client = 'claude'): HookEvent {
  const read = readHookEvent(client, null, JSON.stringify({ session_id: 'one', cwd: '/work', ...fields }))
  if (read === null) throw new Error('that is no event')
  return read
}

export function report(fields: Readonly<Record<string, unknown>>, at = 1_000, client: Client = 'claude'): HookReport {
  return { event: event(fields, client), facts: null, at, isBlocked: false }
}

/** The session after these events, one a second. */
export function after(...events: readonly Readonly<Record<string, unknown>>[]): ClientSession {
  let session: ClientSession | null = null
  for (const [index, fields] of events.entries())
    session = nextSession(session, report(fields, 1_000 * (index + 1)), 'UTC')
  if (session === null) throw new Error('no event')
  return session
}
