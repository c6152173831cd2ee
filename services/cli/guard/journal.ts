import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { S2Error } from '#fleet/errors.ts'
import { redact } from '#fleet/redact.ts'
import { ensureFolder } from '#spool/atomic-files.ts'
import { readCredentials } from '#spool/credentials.ts'
import { Outbox } from '#spool/outbox.ts'
import { diskError } from '#spool/plain-file.ts'
import { guardFolder } from './grant.ts'

/** One stage of a guarded command, as it is kept. It never holds a code or a token. */
export interface GuardAct {
  readonly action: 'enabled' | 'declined' | 'redeemed' | 'refused' | 'started' | 'ended' | 'disabled'
  readonly details: Readonly<Record<string, unknown>>
}

const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants

/**
 * Keeps an act durably before anything follows from it: what cannot be written down is not done. The one place that says
 * where guarded commands are audited: in a log on this host, and in the audit of the fleet.
 */
export async function recordAct(state: string, act: GuardAct, at: number): Promise<void> {
  const line = redact(JSON.stringify({ at: new Date(at).toISOString(), actor: userName(), ...act }))
  try {
    await ensureFolder(guardFolder(state))
    await using file = await open(
      join(guardFolder(state), 'log'),
      O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK,
      0o600,
    )
    if (!(await file.stat()).isFile()) throw new S2Error('unavailable', 'the log of guarded commands is no file')
    await file.appendFile(`${line}\n`)
    await file.sync()
    await tellFleet(state, act)
  } catch (error) {
    throw diskError('writing down a guarded command', error)
  }
}

/** By the outbox, so that the audit of the fleet has it too, whatever the network does now; a host without a session keeps its log. */
async function tellFleet(state: string, { action, details }: GuardAct): Promise<void> {
  const { credentials } = await readCredentials(state)
  const outbox = new Outbox(state)
  for (const { session } of credentials)
    await outbox.put({
      kind: 'act',
      holder: session,
      act: { action: `guard_${action}`, details: { ...details, by: userName() } },
    })
}

function userName(): string {
  return `uid ${process.getuid?.() ?? '?'}`
}
