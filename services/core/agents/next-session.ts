import { byStrength, type ClientActivity, cleanClientActivity } from '#fleet/client-activity.ts'
import type { ClientSession } from './client-session.ts'
import { stateAfterFailure } from './failure-codes.ts'
import type { HookEvent } from './hook-event.ts'
import type { ClientFacts, HookReport } from './hook-report.ts'
import { retryTimeIn } from './retry-time.ts'

/** Wakes that are remembered as read: many more than are told to one session within the time that somebody waits for proof. */
const WAKES_KEPT = 50

/**
 * What is known of a client's session after a report of its hook. `before` is null for a session of which nothing was heard; `zone`
 * is the one that clients of this machine print their times in. What the facts say of its process is left to whoever can look at
 * that process.
 */
export function nextSession(before: ClientSession | null, report: HookReport, zone: string): ClientSession {
  const { event, facts, at } = report
  const known = before ?? newSession(event, at)
  const activity = nextActivity(known.activity, report, zone)
  const sharesProcess = isProcessTold(facts) ? facts.sharesProcess : known.sharesProcess
  const isSame = activity.state === known.activity.state
  return {
    ...known,
    session: facts?.session ?? known.session,
    folder: event.folder ?? known.folder,
    transcript: event.transcript ?? known.transcript,
    version: event.version ?? facts?.version ?? known.version,
    permissionMode: event.permissionMode ?? known.permissionMode,
    inboxSocket: facts?.inboxSocket ?? known.inboxSocket,
    sharesProcess,
    pane: sharesProcess ? null : (facts?.pane ?? known.pane),
    activity,
    since: isSame ? known.since : at,
    heardAt: Math.max(known.heardAt, at),
    signs: known.signs + (isSign(event) ? 1 : 0),
    wakesRead: withWakes(known.wakesRead, event.wakes),
  }
}

function isProcessTold(facts: ClientFacts | null): facts is ClientFacts {
  return facts !== null && facts.process !== null
}

const IDLE: ClientActivity = { state: 'idle', what: null, until: null }
const WORKING: ClientActivity = { state: 'working', what: null, until: null }

function newSession({ client, id, folder }: HookEvent, at: number): ClientSession {
  return {
    client,
    id,
    session: null,
    process: null,
    sharesProcess: false,
    folder: folder ?? '/',
    transcript: null,
    version: null,
    permissionMode: null,
    inboxSocket: null,
    pane: null,
    activity: IDLE,
    since: at,
    heardAt: at,
    signs: 0,
    unseen: [],
    wakesRead: [],
  }
}

/** Prompts, uses of tools and ends of turns show that the agent makes progress; what the client says by itself does not. */
function isSign({ kind, subagent }: HookEvent): boolean {
  if (kind === 'tool_begun' || kind === 'tool_ended') return true
  return subagent === null && (kind === 'prompt' || kind === 'turn_ended')
}

function nextActivity(before: ClientActivity, report: HookReport, zone: string): ClientActivity {
  const { event } = report
  const isOver = before.state === 'gone' && event.kind !== 'start' && event.kind !== 'prompt'
  if (event.kind === 'note' || isOver) return before
  if (event.kind === 'asking') return asking(before, event)
  if (event.subagent !== null) return ofSubagent(before, event)
  return ofItself(before, report, zone)
}

/**
 * The request for a permission says more than the notification that follows it; that says more than the client's own file, which names
 * only the kind of dialog.
 */
function asking(before: ClientActivity, { name, what }: HookEvent): ClientActivity {
  const isKnown = before.what !== null && before.what !== 'permission prompt'
  if (before.state === 'waiting' && name === 'Notification' && isKnown) return before
  return cleanClientActivity({ state: 'waiting', what, until: null })
}

/** A subagent may work behind a session that waits for its person: it only ends the dialog that it opened. */
function ofSubagent(before: ClientActivity, { kind }: HookEvent): ClientActivity {
  return before.state === 'waiting' && (kind === 'tool_ended' || kind === 'answered') ? WORKING : before
}

function ofItself(before: ClientActivity, report: HookReport, zone: string): ClientActivity {
  const { event, isBlocked } = report
  switch (event.kind) {
    case 'start':
    case 'interrupted':
      return IDLE
    case 'prompt':
    case 'tool_begun':
    case 'tool_ended':
    case 'answered':
      return WORKING
    case 'turn_ended':
      return isBlocked ? WORKING : endedTurn(event)
    case 'failure':
      return failed(report, zone)
    case 'end':
      return { state: 'gone', what: null, until: null }
    default:
      // The client reminds of a turn that ended long ago; what ended it by a failure still holds.
      return before.state === 'working' || before.state === 'waiting' ? IDLE : before
  }
}

function endedTurn({ background }: HookEvent): ClientActivity {
  const what = background === 0 ? null : `${background} command${background === 1 ? '' : 's'} in the background`
  return { ...IDLE, what }
}

function failed({ event: { failure, what }, at }: HookReport, zone: string): ClientActivity {
  const state = stateAfterFailure(failure) ?? 'idle'
  const until = state === 'parked' && what !== null ? retryTimeIn(what, at, zone) : null
  return cleanClientActivity({ state, what: what ?? failure, until })
}

function withWakes(before: readonly string[], wakes: readonly string[]): readonly string[] {
  if (wakes.length === 0) return before
  return [...before.filter((each) => !wakes.includes(each)), ...wakes].slice(-WAKES_KEPT)
}

/** The activity that stands for an agent with several sessions; null for none. Of two alike the younger one counts. */
export function strongestActivity(sessions: readonly ClientSession[]): ClientActivity | null {
  const ranked = sessions.toSorted((x, y) => byStrength(x.activity, y.activity) || y.since - x.since)
  return ranked[0]?.activity ?? null
}
