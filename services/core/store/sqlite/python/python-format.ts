import { createHmac, randomBytes } from 'node:crypto'
import { parseInstant } from '#fleet/credential.ts'
import { textHead } from '#fleet/cut-text.ts'
import { NAME_MAX } from '#fleet/message.ts'
import type { Writer } from '#fleet/peer-messages.ts'
import { CONVERSATION_PREFIX, isSessionId } from '#fleet/session-id.ts'

/**
 * The formats of the Python bridge, which S2 reads and writes in the same way, so that both can use one database.
 */

/** Milliseconds since 1970 as Python's `utcnow().isoformat()`: no zone, six digits. */
export function pythonTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}000`
}

/** Whole microseconds since 1970 in the same form. */
export function pythonTimeOfMicros(us: number): string {
  return `${new Date(Math.floor(us / 1000)).toISOString().slice(0, -1)}${String(us % 1000).padStart(3, '0')}`
}

/** The form that Python writes: parsed on a fast path, since there may be a hundred thousand. */
const USUAL = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$/

/** Reads such a time, or another ISO 8601 time; null for anything else. */
export function fromPythonTime(text: unknown): number | null {
  if (typeof text !== 'string') return null
  const ms = USUAL.test(text) ? Date.parse(`${text.slice(0, 23)}Z`) : Number.NaN
  return Number.isNaN(ms) ? parseInstant(text) : ms
}

/** The same in microseconds. */
export function microsOfPythonTime(text: unknown): number | null {
  const ms = fromPythonTime(text)
  if (ms === null) return null
  return ms * 1000 + (typeof text === 'string' && USUAL.test(text) ? Number(text.slice(23)) : 0)
}

/** What S2 sends of its own accord, and not for an agent. */
export type OwnMark = 'task' | 'mail'

/** How metadata with such a mark can be told: the Python bridge reads its own two keys alone. */
export const OWN_MARK = '"s2":"'

/** A message's action and files, as JSON, and who wrote it where that is not the other end of the conversation. */
export function pythonMetadata(
  action: string | null,
  files: readonly string[],
  { mark = null, writer = null }: { readonly mark?: OwnMark | null; readonly writer?: Writer | null } = {},
): string {
  const own = { ...(mark === null ? {} : { s2: mark }), ...(writer === null ? {} : { s2_writer: writer }) }
  return JSON.stringify({ action_type: action, files_involved: files, ...own })
}

export interface MessageMetadata {
  readonly action: string | null
  readonly files: string[]
  readonly writer: Writer | null
  /** S2 sent it of its own accord. */
  readonly isOwn: boolean
}

/** Reads metadata of any writer: a field that is wrong counts as absent. */
export function fromPythonMetadata(text: unknown): MessageMetadata {
  let fields: { action_type?: unknown; files_involved?: unknown; s2_writer?: unknown; s2?: unknown } | null = null
  try {
    if (typeof text === 'string') fields = JSON.parse(text)
  } catch {
    // not JSON: the message still counts, only its action and files are lost
  }
  const action = fields?.action_type
  const files = fields?.files_involved
  return {
    action: typeof action === 'string' ? action : null,
    files: Array.isArray(files) ? files.filter((file) => typeof file === 'string') : [],
    writer: writerOf(fields?.s2_writer),
    isOwn: typeof fields?.s2 === 'string',
  }
}

/** Only S2 writes it: the Python bridge lets its agents name an action and files, and no other key. */
function writerOf(value: unknown): Writer | null {
  const { session, agent } = (value ?? {}) as { readonly session?: unknown; readonly agent?: unknown }
  if (typeof session !== 'string' || !isSessionId(session)) return null
  return { session, agent: typeof agent === 'string' ? textHead(agent, NAME_MAX) : null }
}

/** A session token, 64 hex digits: HMAC-SHA256 (RFC 2104) of who it is for, keyed by the database's own secret. */
export function makeToken(key: Uint8Array, conversation: string, side: string): string {
  const once = randomBytes(16).toString('hex')
  return createHmac('sha256', key).update(`${conversation}:${side}:${once}`).digest('hex')
}

export function makeConversationId(prefix: string = CONVERSATION_PREFIX): string {
  return `${prefix}${randomBytes(8).toString('hex')}`
}
