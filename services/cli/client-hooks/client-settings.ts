import { isDeepStrictEqual } from 'node:util'
import type { Client } from '#agents/client-session.ts'
import { doorUrl, type HookDoor, isDoorUrl } from '#agents/hook-door.ts'
import { valueAt, withItem, withItemReplaced, withoutItems } from './edit-json.ts'
import { hookCommand, isHookCommand } from './hook-commands.ts'

/** What is written into a client's settings. */
export interface HookWishes {
  readonly client: Client
  /** The state folder to name, where it is not the one that S2 finds by itself. */
  readonly state: string | null
  /** Null: the client runs a command for every event. */
  readonly door: HookDoor | null
}

/** The events that each client tells S2 of. */
const EVENTS = {
  claude: [
    'SessionStart',
    'UserPromptSubmit',
    'PreToolUse',
    'PostToolUse',
    'PostToolUseFailure',
    'PermissionRequest',
    'PermissionDenied',
    'Notification',
    'Elicitation',
    'ElicitationResult',
    'Stop',
    'StopFailure',
    'SessionEnd',
  ],
  // Codex asks its model every few seconds of a command that still runs, so that its tools need no beginning.
  codex: ['SessionStart', 'UserPromptSubmit', 'PostToolUse', 'PermissionRequest', 'Stop', 'Interrupt', 'SessionEnd'],
  gemini: ['SessionStart', 'BeforeAgent', 'AfterTool', 'AfterAgent', 'Notification', 'SessionEnd'],
} as const satisfies Partial<Record<Client, readonly string[]>>

/**
 * The tools that a hook of an event is for; every one where none is named. A hook keeps its client waiting for some hundredths of a second,
 * so the beginning of a tool is told only where it asks a person, or runs a command that may compute for an hour.
 */
const MATCHERS: Readonly<Record<string, string>> = { PreToolUse: 'AskUserQuestion|ExitPlanMode|Bash' }

/** Seconds that a client waits for a hook before it goes on; ours answers within a tenth of one. Gemini CLI counts milliseconds. */
const TIMEOUT_S = 5
/** Codex waits no longer at these events, and warns at each start of hooks that want more. */
const SHORT_OF_CODEX: readonly string[] = ['Interrupt', 'SessionEnd']
const SHORT_TIMEOUT_S = 3

/** Longer than an answer from afar is waited for, where `S2_GUARD` is on; else this hook answers like the others. Its dialog is shown meanwhile. */
const ANSWER_TIMEOUT_S = 600
/** What stays a command of Claude Code with a door: the child of the client that tells which process that is, and the one that may wait. */
const ALWAYS_COMMANDS = ['SessionStart', 'PermissionRequest']

export type HookedClient = keyof typeof EVENTS

interface HookGroup {
  readonly matcher?: string
  readonly hooks: readonly Readonly<Record<string, unknown>>[]
}

/** The text of a client's settings with our hooks, each once; the hooks of others stay. Throws JsonError. */
export function withHooks(text: string, client: HookedClient, wishes: HookWishes): string {
  let edited = text
  for (const event of EVENTS[client]) {
    const at = ['hooks', event]
    const isMeant = isOutdated(client, event, wishes)
    for (const group of groupsFor(client, event, wishes)) {
      if (isListed(edited, event, group)) continue
      // In the place of an older one, since Codex keeps its trust in the hooks behind it by their places.
      edited = withItemReplaced(edited, at, isMeant, group) ?? withItem(edited, at, group)
    }
  }
  return withoutOutdated(edited, client, wishes)
}

/** The text without our hooks, of whatever version. Throws JsonError. */
export function withoutHooks(text: string, client: HookedClient): string {
  return eventsIn(text).reduce(
    (left, event) => withoutItems(left, ['hooks', event], (item) => isOurs(client, item)),
    text,
  )
}

/** The commands that a client runs for S2, in the order of its events. */
export function hookCommands(client: HookedClient, { state }: HookWishes): string[] {
  return EVENTS[client].map((event) => hookCommand(client, event, state))
}

function withoutOutdated(text: string, client: HookedClient, wishes: HookWishes): string {
  return eventsIn(text).reduce(
    (left, event) => withoutItems(left, ['hooks', event], isOutdated(client, event, wishes)),
    text,
  )
}

function isOutdated(client: HookedClient, event: string, wishes: HookWishes): (item: unknown) => boolean {
  const wanted = groupsFor(client, event, wishes)
  return (item) => isOurs(client, item) && !wanted.some((each) => isDeepStrictEqual(each, item))
}

/** A group of hooks of others whose number in its event a change of ours made another one. */
export interface MovedGroup {
  readonly event: string
  readonly from: number
  readonly to: number
  readonly hooks: number
}

/** The groups of others that stand elsewhere after a change: their order is what it was. Throws JsonError. */
export function movedGroups(before: string, after: string, client: HookedClient): MovedGroup[] {
  return eventsIn(before).flatMap((event) => {
    const places = placesOfOthers(after, event, client)
    return placesOfOthers(before, event, client).flatMap(({ at, hooks }, index) => {
      const to = places[index]?.at ?? at
      return to === at ? [] : [{ event, from: at, to, hooks }]
    })
  })
}

function placesOfOthers(text: string, event: string, client: HookedClient): { at: number; hooks: number }[] {
  return groupsAt(text, event).flatMap((group, at) => {
    const { hooks } = (group ?? {}) as Partial<HookGroup>
    return isOurs(client, group) ? [] : [{ at, hooks: Array.isArray(hooks) ? hooks.length : 0 }]
  })
}

/** The hooks of an event. A waiter that wakes a session is a group of its own beside the one that reports. */
function groupsFor(client: HookedClient, event: string, wishes: HookWishes): HookGroup[] {
  if (!EVENTS[client].some((each) => each === event)) return []
  const matcher = MATCHERS[event]
  const hooks = [hookFor(client, event, wishes)]
  return [{ ...(matcher === undefined ? {} : { matcher }), hooks }, ...waitersFor(client, event, wishes)]
}

/** When a session of Claude Code begins to wait for input: from here on a wake may begin its next turn. */
const WAITED_AFTER = ['SessionStart', 'Stop']
/** Longer than the waiter waits, so that it ends by itself. */
const WAITER_TIMEOUT_S = 600

/** A hook that waits beside an idle session, to wake it. It costs no tokens, and keeps nobody waiting. */
function waitersFor(client: HookedClient, event: string, { state }: HookWishes): HookGroup[] {
  if (client !== 'claude' || !WAITED_AFTER.includes(event)) return []
  const command = hookCommand(client, 'wait', state)
  return [{ hooks: [{ type: 'command', command, asyncRewake: true, timeout: WAITER_TIMEOUT_S }] }]
}

function hookFor(client: HookedClient, event: string, { state, door }: HookWishes): Readonly<Record<string, unknown>> {
  if (client === 'claude' && door !== null && !ALWAYS_COMMANDS.includes(event)) {
    const headers = { Authorization: `Bearer ${door.secret}` }
    return { type: 'http', url: doorUrl(door, client), headers, timeout: TIMEOUT_S }
  }
  return { type: 'command', command: hookCommand(client, event, state), timeout: timeoutOf(client, event) }
}

/** In the client's own unit. */
function timeoutOf(client: HookedClient, event: string): number {
  if (client === 'gemini') return TIMEOUT_S * 1_000
  if (client === 'claude' && event === 'PermissionRequest') return ANSWER_TIMEOUT_S
  return client === 'codex' && SHORT_OF_CODEX.includes(event) ? SHORT_TIMEOUT_S : TIMEOUT_S
}

function isOurs(client: Client, item: unknown): boolean {
  const hooks = (item as Partial<HookGroup> | null)?.hooks
  return Array.isArray(hooks) && hooks.length > 0 && hooks.every((each: unknown) => isOurHook(client, each))
}

function isOurHook(client: Client, hook: unknown): boolean {
  const { command, url } = (hook ?? {}) as Readonly<Record<string, unknown>>
  return isHookCommand(client, command) || (typeof url === 'string' && isDoorUrl(url, client))
}

function isListed(text: string, event: string, group: HookGroup): boolean {
  return groupsAt(text, event).some((each) => isDeepStrictEqual(each, group))
}

function eventsIn(text: string): string[] {
  const hooks = valueAt(text, ['hooks'])
  return typeof hooks === 'object' && hooks !== null ? Object.keys(hooks) : []
}

function groupsAt(text: string, event: string): readonly unknown[] {
  const groups = valueAt(text, ['hooks', event])
  return Array.isArray(groups) ? groups : []
}
