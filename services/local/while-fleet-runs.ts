import type { CommandContext } from '#console/context.ts'
import { failureOf } from '#console/failure.ts'
import { type FleetOverview, readOverview, renderOverview } from '#console/fleet-overview.ts'
import { painter, showLive } from '#console/live-screen.ts'
import { agentNames } from '#fleet/conversation.ts'
import { ORCHESTRATOR } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import { Pauses } from '#runtime/backoff.ts'
import { Loop } from '#runtime/loop.ts'
import { Inbox } from '#spool/inbox.ts'
import type { Store } from '#store/store.ts'
import { DemoDealer, type DemoTask } from './demo-tasks.ts'
import type { EventReporter } from './event-reporter.ts'
import type { FleetProcesses } from './fleet-processes.ts'

export interface RunFleetParts {
  readonly state: string
  readonly context: CommandContext
  readonly reporter: EventReporter
  readonly store: Store
  readonly runner: FleetProcesses
  readonly ending: AbortController
}

const RETRY = { firstMs: 1_000, mostMs: 30_000, leastMs: 1_000 }
/** The pauses between two tasks of the demo, and between two reads of the orchestrator's mail. */
const DEAL_MS = 700
const MAIL_MS = 500

/** Runs a fleet until `ending` aborts: plays the demo, and shows the live table on a terminal. */
export async function runFleet(parts: RunFleetParts, tasks: readonly DemoTask[] | null): Promise<void> {
  const { context, reporter, ending } = parts
  const loops = tasks === null ? [] : playOrchestrator(tasks, parts)
  try {
    if (context.screen.isTerminal && !reporter.json) await showTable(parts)
    else await untilAborted(ending.signal)
  } finally {
    // A loop that went on would keep the process alive and use a closed store.
    ending.abort()
    await Promise.all(loops.map(({ done }) => done))
  }
}

/** Repeats a job of `s2 up` until it ends; a failure is reported and tried again. */
function repeatJob(
  what: string,
  job: () => Promise<unknown>,
  everyMs: number,
  { context, reporter, ending }: RunFleetParts,
): Loop {
  const pauses = new Pauses(RETRY, context.chance)
  return new Loop({
    clock: context.clock,
    signal: ending.signal,
    step: async () => {
      await job()
      pauses.succeeded()
      return everyMs
    },
    onError: (error) => {
      if (pauses.failures === 0) reporter.trouble(what, error)
      return pauses.failed()
    },
  })
}

/** The demo's orchestrator: it gives tasks, and reports the messages about them. */
function playOrchestrator(tasks: readonly DemoTask[], parts: RunFleetParts): Loop[] {
  const { context, state, reporter, store } = parts
  const dealer = new DemoDealer(tasks, { store, clock: context.clock, chance: context.chance })
  const inbox = new Inbox(state)
  const read = async (): Promise<void> => {
    await inbox.ack(await inbox.list('cur'))
    for (const { text } of await inbox.take(100)) {
      const content = readTaskMessage(text)
      if (content?.type === 'task_moved') {
        const agentOf = agentNames(await store.conversations())
        const [from, to] = [content.from, content.to].map((who) => (who === null ? 'nobody' : agentOf(who)))
        const moved = `${content.task} from ${from} to ${to}: ${content.reason}`
        reporter.tell({ agent: ORCHESTRATOR, program: 'mail', event: 'moved', fields: { text: moved } })
      } else if (content?.type === 'status_update' && (content.status === 'completed' || content.status === 'failed')) {
        const last = (content.summary ?? '').trim().split('\n').at(-1) ?? ''
        const fields = { text: `${content.task}: ${last}` }
        reporter.tell({ agent: ORCHESTRATOR, program: 'mail', event: content.status, fields })
      }
    }
  }
  return [
    repeatJob('adding a demo task', () => dealer.deal(), DEAL_MS, parts),
    repeatJob('reading the mail', read, MAIL_MS, parts),
  ]
}

async function showTable({ context, reporter, ending, store, runner }: RunFleetParts): Promise<void> {
  const paint = painter(context)
  let last: FleetOverview | null = null
  reporter.keepQuiet(true)
  try {
    await showLive(
      context,
      async (columns, rows) => {
        let trouble = ''
        try {
          last = await readOverview({ store, unserved: false }, context.clock.wall(), runner.agents())
        } catch (error) {
          trouble = failureOf(error).message
        }
        const table = last === null ? [] : renderOverview(last, columns, paint)
        const foot = trouble === '' ? paint('dim', 'Ctrl-C ends the fleet') : paint('red', `${trouble}; asking again`)
        const news = (room: number): string[] => reporter.last(room).map((line) => paint('dim', line))
        return layOut(table, news, foot, rows)
      },
      1_000,
      ending.signal,
    )
  } finally {
    reporter.keepQuiet(false)
  }
}

/** Lays out the window: the foot at the bottom, the table, and the events where there is room for them. */
export function layOut(
  table: readonly string[],
  news: (room: number) => readonly string[],
  foot: string,
  rows: number,
): string[] {
  const shown = table.slice(0, Math.max(0, rows - 2))
  const room = rows - shown.length - 3
  if (room < 1) return [...shown, '', foot].slice(-rows)
  const lines = news(room)
  return [...shown, '', ...lines, ...Array<string>(room - lines.length).fill(''), '', foot]
}

async function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}
