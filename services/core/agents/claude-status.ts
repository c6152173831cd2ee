import { cleanClientActivity } from '#fleet/client-activity.ts'
import { parseObject, readPlainFileSync } from '#spool/plain-file.ts'
import type { ClientSession } from './client-session.ts'
import { type ClientFields, shortWord } from './whole-fields.ts'

/** What Claude Code says of a session in a file of its own, `sessions/<pid>.json`: it knows of dialogs and interruptions that no hook tells. */
export interface ClaudeStatus {
  readonly status: 'idle' | 'busy' | 'waiting'
  /** What kind of dialog is open, e.g. `permission prompt`. */
  readonly waitingFor: string | null
  /** Since when, milliseconds since 1970. */
  readonly at: number
  readonly version: string | null
  readonly inboxSocket: string | null
}

const FILE_MAX = 64 * 1024

/**
 * Reads that file; null where there is none for this very session and process (one of a dead process stays), or this user may not read
 * it.
 */
export function readClaudeStatus(session: ClientSession): ClaudeStatus | null {
  const { id, process } = session
  const folder = claudeFolder(session)
  if (folder === null || process === null) return null
  try {
    const text = readPlainFileSync(`${folder}/sessions/${process.pid}.json`, FILE_MAX)
    const fields = text === null ? null : parseObject(text)
    const isItsOwn = fields?.sessionId === id && fields.pid === process.pid && fields.procStart === process.startTicks
    return isItsOwn ? statusIn(fields) : null
  } catch {
    return null
  }
}

/** Where Claude Code keeps what is its user's, as its hooks told of a transcript there; null where they did not. */
export function claudeFolder({ client, transcript }: Pick<ClientSession, 'client' | 'transcript'>): string | null {
  if (client !== 'claude') return null
  return /^(.+)\/projects\/[^/]+\/[^/]+$/.exec(transcript ?? '')?.[1] ?? null
}

function statusIn(fields: ClientFields): ClaudeStatus | null {
  const status = (['idle', 'busy', 'waiting'] as const).find((each) => each === fields.status)
  const at = fields.statusUpdatedAt ?? fields.updatedAt
  if (status === undefined || !Number.isSafeInteger(at)) return null
  const socket = fields.messagingSocketPath
  return {
    status,
    waitingFor: shortWord(fields.waitingFor),
    at: at as number,
    version: shortWord(fields.version),
    inboxSocket: typeof socket === 'string' && socket.startsWith('/') ? socket : null,
  }
}

/** The session with what the file says; the same one where that is nothing new. What a later hook told counts more. */
export function withClaudeStatus(session: ClientSession, said: ClaudeStatus | null): ClientSession {
  if (said === null) return session
  const version = said.version ?? session.version
  const inboxSocket = session.inboxSocket ?? said.inboxSocket
  const isKnown = version === session.version && inboxSocket === session.inboxSocket
  const known = isKnown ? session : { ...session, version, inboxSocket }
  const state = stateBy(session, said)
  if (said.at <= session.heardAt || state === session.activity.state) return known
  const activity = cleanClientActivity({ state, what: state === 'waiting' ? said.waitingFor : null, until: null })
  return { ...known, activity, since: said.at }
}

/** A session that is idle after a failure is so because of that failure. */
function stateBy({ activity: { state } }: ClientSession, { status }: ClaudeStatus): ClientSession['activity']['state'] {
  if (status === 'busy') return 'working'
  if (status === 'waiting') return 'waiting'
  return state === 'working' || state === 'waiting' ? 'idle' : state
}
