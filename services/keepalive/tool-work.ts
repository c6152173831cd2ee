import type { HookKind } from '#agents/hook-names.ts'
import type { Clock } from '#runtime/clock.ts'
import type { KnownProcess } from '#runtime/process-life.ts'
import { hasMoved, idOf, type Processes, type Tree, treeOf } from '#runtime/work-signs.ts'

export interface ToolWorkParts {
  readonly clock: Pick<Clock, 'now'>
  /** All processes of this host; null where they cannot be seen. */
  readonly processes: () => Promise<Processes | null>
  /** Hundredths of a second since this machine started, as the starts of processes are told. */
  readonly ticksNow: () => number
}

/** A tool, or several at once, that a client runs. */
interface RunningTool {
  count: number
  /** When the first of them began, in ticks. */
  readonly since: number
  before: Tree | null
}

/** What is heard of a tool is this much older than its processes, at the most, in ticks. */
const SLACK_TICKS = 10
const MS_PER_TICK = 10

/**
 * The work of tools that clients run: a build of forty minutes says nothing to any hook. While one runs, the processes that the client
 * started since are looked at. What ran before, such as servers and waiting hooks, shows nothing of it, and neither does the client,
 * which draws its screen all the time.
 */
export class ToolWork {
  readonly #parts: ToolWorkParts
  readonly #running = new Map<string, RunningTool>()

  constructor(parts: ToolWorkParts) {
    this.#parts = parts
  }

  /** Takes in an event of a session, that happened `agoMs` ago. */
  hear(session: string, kind: HookKind, agoMs: number): void {
    const tool = this.#running.get(session)
    if (kind === 'tool_begun') {
      const since = this.#parts.ticksNow() - agoMs / MS_PER_TICK - SLACK_TICKS
      if (tool === undefined) this.#running.set(session, { count: 1, since, before: null })
      else tool.count += 1
    } else if (kind === 'tool_ended' && tool !== undefined && tool.count > 1) tool.count -= 1
    else if (ENDS.includes(kind)) this.#running.delete(session)
  }

  /** The sessions whose tools have worked since the last look. Reads nothing while no tool runs. */
  async look(clientOf: (session: string) => KnownProcess | null): Promise<string[]> {
    if (this.#running.size === 0) return []
    const all = await this.#parts.processes()
    if (all === null) return []
    return [...this.#running].flatMap(([session, tool]) => {
      const now = this.#treeOf(tool, clientOf(session), all)
      const hasWorked = now !== null && tool.before !== null && hasMoved(tool.before, now)
      tool.before = now
      return hasWorked ? [session] : []
    })
  }

  /** Null where the client has ended or is stopped: nobody waits for what its tool does. */
  #treeOf({ since, before }: RunningTool, client: KnownProcess | null, all: Processes): Tree | null {
    const stat = client === null ? undefined : all.get(client.pid)
    if (client === null || stat?.startedAt !== client.startTicks || stat.state === 'T') return null
    const roots = [...all].flatMap(([pid, each]) => {
      const isOfTool = each.parent === client.pid && Number(each.startedAt) >= since
      return isOfTool || before?.ticks.has(idOf(pid, each)) === true ? [pid] : []
    })
    return treeOf(roots, all, this.#parts.clock.now())
  }
}

const ENDS: readonly HookKind[] = ['tool_ended', 'start', 'prompt', 'turn_ended', 'interrupted', 'failure', 'end']
