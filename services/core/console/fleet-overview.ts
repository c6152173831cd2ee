import type { ClientActivityState } from '#fleet/client-activity.ts'
import { type Agent, agentsOf } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import type { Incident } from '#fleet/incident.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isStoreTrouble } from '#fleet/store-trouble.ts'
import { isLeased, type Task } from '#fleet/task.ts'
import { type AgentVerdict, isHeard, type ShownActivity, type Verdict } from '#fleet/verdict.ts'
import { wholeMinute } from '#runtime/instant.ts'
import type { Store } from '#store/store.ts'
import type { AgentProcesses } from './fleet-control.ts'
import type { ReachedFleet } from './store-access.ts'
import { type Column, table } from './table.ts'
import { ago, counted, oneLine, widthOf } from './terminal-text.ts'

/** The fleet at one moment. Times are milliseconds since 1970, UTC. */
export interface FleetOverview {
  readonly at: number
  /** When a watchdog last wrote its verdicts; null where none has, `hidden` where this session may not see it. */
  readonly judgedAt: number | null | 'hidden'
  /** Whether a watchdog passes verdicts now: `away` where none has for two minutes. */
  readonly watchdog: 'watching' | 'away' | 'hidden'
  /** A bridge collects beats: where none runs, no verdict is of now. */
  readonly isServed: boolean
  /** A watchdog watches, as far as may be seen, no agent is lost, and the database takes what is written. */
  readonly isWell: boolean
  readonly agents: readonly AgentView[]
  /** Open tasks that nobody holds. */
  readonly waiting: readonly Task[]
  readonly counts: { readonly open: number; readonly completed: number; readonly failed: number }
  readonly incidents: readonly Incident[]
}

export interface AgentView {
  readonly name: string
  readonly role: string
  readonly verdict: Verdict | 'unknown'
  /** While nobody watches: what was thought of it last. */
  readonly lastVerdict: Verdict | null
  /** Its host is heard, whatever keeps it from work; null where nobody knows. */
  readonly isAlive: boolean | null
  /** It does nothing until a person acts: answers a dialog, logs in, or mends its place. */
  readonly needsPerson: boolean
  readonly since: number | null
  /** What explains the verdict, and until when it is expected to hold. */
  readonly why: string | null
  readonly until: number | null
  /** What its client does; null where nothing is known of one. */
  readonly activity: ShownActivity | null
  readonly host: string | null
  /** The state that `s2 up` reports for it; null where none runs here. */
  readonly processes: AgentProcesses['state'] | null
  readonly sessions: readonly SessionId[]
  readonly task: Task | null
  readonly open: number
  readonly completed: number
  readonly failed: number
  /** Messages to it that it has not acked, up to UNREAD_MAX in each session. */
  readonly unread: number
}

const TASKS_MAX = 1_000
const UNREAD_MAX = 100

/** The codes of a bridge for what it hides from some sessions. */
const HIDDEN = ['forbidden', 'not_found', 'unauthenticated']

export async function readOverview(
  { store, unserved }: Pick<ReachedFleet, 'store' | 'unserved'>,
  now: number,
  processes: readonly AgentProcesses[] | null,
): Promise<FleetOverview> {
  const [conversations, judged, open, completed, failed, incidents] = await Promise.all([
    store.conversations(),
    unlessHidden(store.verdicts(), { at: 'hidden' as const, verdicts: [] }),
    store.tasks({ open: true, limit: TASKS_MAX }),
    store.tasks({ state: 'completed', limit: TASKS_MAX }),
    store.tasks({ state: 'failed', limit: TASKS_MAX }),
    unlessHidden(store.incidents({ open: true }), []),
  ])
  const watchdog = unserved ? 'away' : whetherWatched(judged.at, now)
  const agents = await Promise.all(
    agentsOf(conversations).map(async (agent): Promise<AgentView> => {
      const last = judged.verdicts.find((each) => each.agent === agent.name)
      const verdict = watchdog === 'away' ? undefined : last
      const mine = open.filter(heldBy(agent))
      return {
        ...agent,
        verdict: verdict?.verdict ?? 'unknown',
        isAlive: verdict === undefined ? null : isHeard(verdict.verdict),
        needsPerson: verdict !== undefined && waitsForPerson(verdict),
        lastVerdict: watchdog === 'away' ? (last?.verdict ?? null) : null,
        since: verdict?.since ?? null,
        why: verdict?.why ?? null,
        until: verdict?.until ?? null,
        activity: verdict?.activity ?? null,
        host: last?.host ?? null,
        processes: processes?.find((each) => each.agent === agent.name)?.state ?? null,
        task: mine.find(({ state }) => isLeased(state)) ?? mine[0] ?? null,
        open: mine.length,
        completed: completed.filter(heldBy(agent)).length,
        failed: failed.filter(heldBy(agent)).length,
        unread: await countUnread(store, agent),
      }
    }),
  )
  return {
    at: now,
    judgedAt: judged.at,
    watchdog,
    isServed: !unserved,
    isWell: watchdog !== 'away' && !agents.some(isLost) && !incidents.some(isStoreTrouble),
    agents: agents.sort(byName),
    waiting: open.filter(({ holder }) => holder === null),
    counts: { open: open.length, completed: completed.length, failed: failed.length },
    incidents,
  }
}

async function unlessHidden<T, O>(asked: Promise<T>, otherwise: O): Promise<T | O> {
  try {
    return await asked
  } catch (error) {
    if (error instanceof S2Error && HIDDEN.includes(error.code)) return otherwise
    throw error
  }
}

async function countUnread(store: Store, { sessions }: Agent): Promise<number> {
  const counts = sessions.map(async (session) => (await unlessHidden(store.unacked(session, 0, UNREAD_MAX), [])).length)
  return (await Promise.all(counts)).reduce((sum, each) => sum + each, 0)
}

function isLost({ verdict }: AgentView): boolean {
  return verdict === 'silent' || verdict === 'gone'
}

function waitsForPerson({ verdict, activity }: AgentVerdict): boolean {
  return verdict === 'waiting' || verdict === 'sick' || (verdict === 'parked' && activity?.state === 'logged_out')
}

function heldBy({ sessions }: Agent): (task: Task) => boolean {
  return ({ holder }) => holder !== null && sessions.includes(holder)
}

/** Sorts by name and number; an agent without a number (the orchestrator) comes first. */
function byName(x: AgentView, y: AgentView): number {
  const isNumbered = (view: AgentView): number => (/\d$/.test(view.name) ? 1 : 0)
  return isNumbered(x) - isNumbered(y) || x.name.localeCompare(y.name, 'en', { numeric: true })
}

/** Styles a text, or leaves it as it is where the terminal has no colours. */
export type Paint = (style: 'bold' | 'dim' | 'green' | 'yellow' | 'red' | 'cyan', text: string) => string

const COLUMNS: readonly Column[] = [
  { title: 'AGENT' },
  { title: 'ROLE', yields: 2 },
  { title: 'STATE' },
  { title: 'FOR' },
  { title: 'TASK', yields: 1 },
  { title: 'DOING', stretches: true },
  { title: 'DONE' },
  { title: 'FAIL' },
  { title: 'MAIL' },
]

/** The overview as lines of text. */
export function renderOverview(overview: FleetOverview, columns: number, paint: Paint): string[] {
  const { agents, waiting, incidents, at } = overview
  const [titles = '', ...rows] = table(COLUMNS, agents.map(cellsOf(overview)), columns)
  const stateAt = titles.indexOf('STATE')
  const stateEnd = titles.indexOf('FOR')
  const painted = rows.map((row, index) => {
    const agent = agents[index]
    if (agent === undefined || stateAt < 0) return row
    const state = row.slice(stateAt, stateEnd)
    return row.slice(0, stateAt) + paint(colourOf(agent), state) + row.slice(stateEnd)
  })
  return [
    ...headLines(overview, columns).map((line) => paint('bold', line)),
    ...incidents.map(({ summary, openedAt }) => paint('red', oneLine(`! ${summary} (${ago(at - openedAt)})`))),
    ...(waiting.length === 0 ? [] : [paint('yellow', `${counted(waiting.length, 'task')} without an owner`)]),
    '',
    paint('dim', titles),
    ...painted,
  ]
}

/** What is counted, on one line where the window has room for it. */
function headLines(overview: FleetOverview, columns: number): string[] {
  const { agents, counts } = overview
  const tasks = `${counted(counts.open, 'task')} open, ${cappedCount(counts.completed)} completed, ${cappedCount(counts.failed)} failed`
  const parts = [`${counted(agents.length, 'agent')}${lifeNote(overview)}`, tasks, ...watchdogNote(overview)]
  const lines: string[] = []
  for (const part of parts) {
    const longer = lines.length === 0 ? part : `${lines.at(-1)} · ${part}`
    if (widthOf(longer) <= columns) lines.pop()
    lines.push(widthOf(longer) <= columns ? longer : part)
  }
  return lines
}

/** The watchdog writes its verdicts in every round: after this time without one it is away. */
const NOTED_MS = 120_000

/** A time that lies ahead says as little: the clock was put back since. */
function whetherWatched(judgedAt: FleetOverview['judgedAt'], now: number): FleetOverview['watchdog'] {
  if (judgedAt === 'hidden') return 'hidden'
  return judgedAt !== null && Math.abs(now - judgedAt) <= NOTED_MS ? 'watching' : 'away'
}

/** How many are alive, where somebody knows that. */
function lifeNote({ agents, watchdog }: FleetOverview): string {
  if (watchdog === 'hidden') return ''
  if (watchdog === 'away') return ', and nobody watches'
  const inNeed = agents.filter(({ needsPerson }) => needsPerson).length
  const alive = `, ${agents.filter(({ isAlive }) => isAlive === true).length} alive`
  return inNeed === 0 ? alive : `${alive} (${inNeed} ${inNeed === 1 ? 'needs' : 'need'} a person)`
}

function watchdogNote({ judgedAt, watchdog, isServed, at }: FleetOverview): string[] {
  if (judgedAt === 'hidden') return ['verdicts are shown on the orchestrator’s host']
  if (judgedAt === null) return ['no watchdog has looked yet']
  if (watchdog !== 'away') return []
  const when =
    judgedAt > at
      ? `the watchdog’s last verdicts are dated ${ago(judgedAt - at)} ahead of this clock, which was put back`
      : `the watchdog was last heard ${ago(at - judgedAt)} ago`
  return isServed
    ? [`${when}: see s2 health watchdog`]
    : [`no bridge runs here, so no agent is heard; ${when}: see s2 health`]
}

function cappedCount(count: number): string {
  return count >= TASKS_MAX ? `${TASKS_MAX}+` : String(count)
}

function cellsOf({ at, judgedAt, incidents }: FleetOverview): (view: AgentView) => string[] {
  const judgedAgo = typeof judgedAt === 'number' ? ` (${sinceJudged(at - judgedAt)})` : ''
  return (view) => {
    const { task } = view
    const doing =
      task === null || view.why !== null
        ? whyAway(view, incidents, at)
        : isLeased(task.state)
          ? (task.progress ?? task.description)
          : task.description
    return [
      view.name,
      view.role,
      view.lastVerdict === null ? stateWord(view, at) : `${view.lastVerdict}${judgedAgo}`,
      sinceOf(view) === null ? '' : ago(at - (sinceOf(view) ?? at)),
      task === null ? '' : `${task.id}${view.open > 1 ? ` +${view.open - 1}` : ''}`,
      task !== null && view.why === null && !isLeased(task.state) ? `(${task.state}) ${doing}` : doing,
      String(view.completed),
      String(view.failed),
      view.unread >= UNREAD_MAX ? `${view.unread}+` : String(view.unread),
    ]
  }
}

function sinceJudged(ms: number): string {
  return ms < 0 ? `dated ${ago(-ms)} ahead` : `${ago(ms)} ago`
}

/** What explains the verdict: else how it died, or what to do where it has never started. */
function whyAway(
  { name, verdict, why, until, activity }: AgentView,
  incidents: readonly Incident[],
  now: number,
): string {
  if (why !== null) return `${verdict}: ${why}${until !== null && until <= now ? '; due to try again' : ''}`
  if (verdict === 'new') {
    const isForeign = name.startsWith('conv_') // nobody named the agent of a session that the Python bridge made
    return isForeign
      ? 'never heard from: it calls update_my_status, or a worker of S2 takes its place (s2 worker adopt)'
      : 'never heard from: start its services, or run s2 health on its host'
  }
  if (verdict === 'alive') return activity?.state === 'gone' ? 'its client has ended' : ''
  if (verdict !== 'gone') return ''
  return incidents.find(({ agent, kind }) => agent === name && kind === 'gone')?.summary ?? ''
}

const OVERLOADED = 'overloaded, retrying'

/** How states of clients read, where they are shown in place of the verdict. */
const CLIENT_WORDS: Partial<Record<ClientActivityState, string>> = {
  working: 'working',
  idle: 'idle',
  overloaded: OVERLOADED,
}

/** The watchdog's verdict, or what the client of an agent does that is alive, until when it holds, and `frozen` or `killed` where `s2 up` reports that. */
function stateWord(view: AgentView, now: number): string {
  const { processes, until } = view
  const word = wordOf(view)
  const said = until === null || until <= now ? word : `${word} until ${timeOfDay(wholeMinute(until), now)}`
  return processes === null || processes === 'running' ? said : `${said} (${processes})`
}

const DAY_MS = 86_400_000

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** `14:20` by this machine's clock, `3 Feb 14:20` where that is not within a day. */
function timeOfDay(at: number, now: number): string {
  const date = new Date(at)
  const two = (number: number): string => String(number).padStart(2, '0')
  const time = `${two(date.getHours())}:${two(date.getMinutes())}`
  if (Math.abs(at - now) < DAY_MS) return time
  return `${date.getDate()} ${MONTHS[date.getMonth()]} ${time}`
}

function wordOf({ verdict, activity }: AgentView): string {
  if (verdict === 'alive') return CLIENT_WORDS[activity?.state ?? 'gone'] ?? verdict
  if (verdict !== 'parked') return verdict
  return activity?.state === 'logged_out' ? 'logged out' : activity?.state === 'overloaded' ? OVERLOADED : verdict
}

/** Since when it is as it is shown. */
function sinceOf({ verdict, activity, since }: AgentView): number | null {
  const isOfClient = verdict === 'alive' && activity !== null && CLIENT_WORDS[activity.state] !== undefined
  return isOfClient ? activity.since : since
}

function colourOf({ verdict }: AgentView): 'green' | 'yellow' | 'red' | 'dim' {
  if (verdict === 'alive') return 'green'
  if (verdict === 'unknown') return 'dim'
  return verdict === 'new' || verdict === 'late' || verdict === 'parked' ? 'yellow' : 'red'
}
