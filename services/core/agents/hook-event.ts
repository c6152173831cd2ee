import { textHead } from '#fleet/cut-text.ts'
import { wakesIn } from '#fleet/wake-text.ts'
import type { Client } from './client-session.ts'
import { type HookKind, kindOf } from './hook-names.ts'
import { type ClientFields, isClientId, objectOf, shortWord, wholeFieldsOf } from './whole-fields.ts'

/** What a client told its hook, as far as S2 uses it. Nothing of it is trusted: a client passes on what a model and a repository say. */
export interface HookEvent {
  readonly client: Client
  /** As the client calls it, e.g. `Stop`. */
  readonly name: string
  readonly kind: HookKind
  /** The client's own id of the session. */
  readonly id: string
  /** The subagent that it tells of; null for the session itself. */
  readonly subagent: string | null
  readonly folder: string | null
  readonly transcript: string | null
  readonly permissionMode: string | null
  readonly version: string | null
  /** What a dialog asks, or the client says of a failure; one line, not yet redacted. */
  readonly what: string | null
  /** The client's word for a failure, e.g. `rate_limit`. */
  readonly failure: string | null
  /** The wakes that a prompt names. The prompt itself is not kept. */
  readonly wakes: readonly string[]
  /** A Stop hook has made the turn go on already. */
  readonly isStopHookActive: boolean
  /** What still runs behind a turn that ended: background commands and timers. */
  readonly background: number
}

/** Characters of an input that are read: what a tool answered may be any length, and stands behind all that is used. */
export const HOOK_INPUT_MAX = 1_048_576
const PATH_MAX = 4_096
const WHAT_MAX = 1_000
const WAKES_MAX = 20
/** How Claude Code words that it holds a message of another session until a person lets it in. */
const HELD_MESSAGE = /message from another session/i

/**
 * Reads what a client gave its hook; null for anything else. Never throws. `name` is the event that the hook was installed for: it
 * counts where the input names none.
 */
export function readHookEvent(client: Client, name: string | null, input: string): HookEvent | null {
  const fields = wholeFieldsOf(input.length > HOOK_INPUT_MAX ? input.slice(0, HOOK_INPUT_MAX) : input)
  return fields === null ? null : hookEventOf(client, name, fields)
}

/** The same of an input that is parsed already. */
function hookEventOf(client: Client, name: string | null, fields: ClientFields): HookEvent | null {
  const said = shortWord(fields.hook_event_name) ?? shortWord(fields.type) ?? name
  const id = shortWord(fields.session_id) ?? shortWord(fields.sessionID)
  if (said === null || id === null || !isClientId(id)) return null
  const kind = kindOf(client, said, fields)
  return {
    client,
    name: said,
    kind,
    id,
    subagent: shortWord(fields.agent_id),
    folder: pathOf(fields.cwd),
    transcript: pathOf(fields.transcript_path),
    permissionMode: shortWord(fields.permission_mode),
    version: shortWord(fields.version) ?? shortWord(fields.client_version),
    what: whatOf(kind, fields),
    failure: kind === 'failure' ? (shortWord(fields.error) ?? 'unknown') : null,
    wakes: kind === 'prompt' ? wakesOf(fields.prompt) : [],
    isStopHookActive: fields.stop_hook_active === true,
    background: lengthOf(fields.background_tasks) + lengthOf(fields.session_crons),
  }
}

function pathOf(value: unknown): string | null {
  const isPath = typeof value === 'string' && value.startsWith('/') && value.length <= PATH_MAX
  return isPath && !/\p{Cc}/u.test(value) ? value : null
}

/** One line of at most some characters; null where nothing is left. */
function lineOf(value: unknown): string | null {
  if (typeof value !== 'string') return null
  const line = textHead(value, WHAT_MAX)
    .replace(/[\p{C}\p{Z}]+/gu, ' ')
    .trim()
  return line === '' ? null : line
}

function wakesOf(prompt: unknown): string[] {
  return typeof prompt === 'string' ? wakesIn(textHead(prompt, HOOK_INPUT_MAX)).slice(0, WAKES_MAX) : []
}

function lengthOf(value: unknown): number {
  return Array.isArray(value) ? Math.min(value.length, 1_000) : 0
}

function whatOf(kind: HookKind, fields: ClientFields): string | null {
  if (kind === 'asking') return askedBy(fields)
  if (kind === 'failure')
    return lineOf(fields.last_assistant_message) ?? lineOf(fields.message) ?? shortWord(fields.error)
  return null
}

/** What a dialog asks: the message of the client, or the tool that it wants to use and with what. */
function askedBy(fields: ClientFields): string | null {
  const message = lineOf(fields.message)
  if (message !== null) return HELD_MESSAGE.test(message) ? `held message: ${message}` : message
  const tool = shortWord(fields.tool_name) ?? shortWord(fields.permission)
  const input = objectOf(fields.tool_input)
  if (tool === 'AskUserQuestion') return `question: ${questionIn(input) ?? 'it asks something'}`
  const detail = lineOf(input.command) ?? lineOf(input.file_path) ?? lineOf(input.url) ?? lineOf(input.description)
  if (tool === null) return 'it asks something'
  return detail === null ? `permission prompt: ${tool}` : `permission prompt: ${tool}: ${detail}`
}

function questionIn(input: ClientFields): string | null {
  const first: unknown = Array.isArray(input.questions) ? input.questions[0] : input
  return lineOf(objectOf(first).question)
}
