import { join } from 'node:path'
import { redact } from '#fleet/redact.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { readCredentials } from '#spool/credentials.ts'
import { appendLine } from '#spool/line-log.ts'
import { Outbox } from '#spool/outbox.ts'
import { diskError } from '#spool/plain-file.ts'
import { guardFolder } from './grant.ts'

/** One stage of a guarded command, or an answer from afar to a permission prompt, as it is kept. It never holds a code or a token. */
export interface GuardAct {
  readonly action: 'enabled' | 'declined' | 'redeemed' | 'refused' | 'started' | 'ended' | 'answered' | 'disabled'
  readonly details: Readonly<Record<string, unknown>>
}

/** Bytes of the log before it makes room; the file before is kept, the ones before that are not. */
export const LOG_MAX = 1024 * 1024
/** How many items may wait in the outbox before refusals are kept on this host alone: an agent can have any number of them. */
export const WAITING_MAX = 200

/**
 * Keeps an act durably before anything follows from it: what cannot be written down is not done. The one place that says
 * where guarded commands are audited: in a log on this host, and in the audit of the fleet.
 */
export async function recordAct(state: string, act: GuardAct, at: number): Promise<void> {
  const line = redact(JSON.stringify({ at: new Date(at).toISOString(), actor: userName(), ...act }))
  try {
    await ensureFolder(guardFolder(state))
    await appendLine(join(guardFolder(state), 'log'), line, LOG_MAX)
    await tellFleet(state, act, at)
  } catch (error) {
    throw diskError('writing down a guarded command', error)
  }
}

/**
 * By the outbox, so that the audit of the fleet has it too, whatever the network does now; a host without a session keeps its
 * log. One session tells it for the host: the first whose credential counts, so that it stays the same.
 */
async function tellFleet(state: string, { action, details }: GuardAct, at: number): Promise<void> {
  const { credentials } = await readCredentials(state)
  const teller = credentials.find(({ expiresAt }) => expiresAt > at) ?? credentials[0]
  if (teller === undefined) return
  const outbox = new Outbox(state)
  if (action === 'refused' && (await outbox.names()).length >= WAITING_MAX) return
  const act = { action: `guard_${action}`, details: { ...details, by: userName() } }
  await outbox.put({ kind: 'act', holder: teller.session, act })
}

function userName(): string {
  return `uid ${process.getuid?.() ?? '?'}`
}
