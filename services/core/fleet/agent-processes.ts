/** What an agent runs in: a container, a unit, a terminal session. */
export interface AgentProcess {
  /** What its supervisor calls it. */
  readonly id: string
  /** The agent in it; null where it is not that agent's any more: then it proves nothing. */
  readonly agent: string | null
  /** For people to read, e.g. `container s2-worker-3`. */
  readonly name: string
  readonly state: AgentProcessState
  /** What explains the state, e.g. `exit code 137, out of memory`; empty where nothing does. */
  readonly why: string
  /** Its owner allows that it is started again. */
  readonly mayStart: boolean
}

/** `hindered`: it lives, but its agent can hardly work (paused, unhealthy). `unknown`: its supervisor cannot say. */
export type AgentProcessState = 'living' | 'hindered' | 'ended' | 'unknown'

/** What the processes of an agent show of it. */
export interface ProcessFinding {
  /** `found_ended`: it had ended when the observer started, so its agent may live in another process. */
  readonly state: 'living' | 'hindered' | 'ended' | 'found_ended'
  /** The process that shows it, and the supervisor that reported it. */
  readonly agentProcess: AgentProcess
  readonly source: string
  /** Whether its supervisor answers now: nothing is started while it does not. */
  readonly isKnown: boolean
  /** When the supervisor was asked for what it said last, by the observer's clock. */
  readonly askedAt: number
}

/**
 * The processes that supervisors report to one observer. Unknown is not dead: a supervisor that does not answer proves
 * nothing, and neither does a process that was never seen alive.
 */
export class AgentProcessTable {
  readonly #sources = new Map<string, SourceReport>()
  #byAgent: Map<string, Entry[]> | null = null

  /**
   * Takes in all processes that a supervisor had when it was asked; those it had before and does not name have ended. Answers
   * what changed.
   */
  take(source: string, processes: readonly AgentProcess[], askedAt: number): AgentProcess[] {
    const report = this.#sources.get(source) ?? { isKnown: true, askedAt, entries: new Map<string, Entry>() }
    this.#sources.set(source, report)
    this.#byAgent = null
    report.isKnown = true
    report.askedAt = askedAt
    const before = report.entries
    report.entries = new Map()
    const changed: AgentProcess[] = []
    for (const agentProcess of processes) {
      const known = before.get(agentProcess.id)
      before.delete(agentProcess.id)
      if (agentProcess.agent === null) continue
      report.entries.set(agentProcess.id, enter(known, agentProcess, source, report))
      if (known?.agentProcess.state !== agentProcess.state || known.agentProcess.why !== agentProcess.why)
        changed.push(agentProcess)
    }
    for (const entry of before.values()) {
      if (entry.agentProcess.state !== 'ended') changed.push({ ...entry.agentProcess, state: 'ended', why: REMOVED })
      const vanished = outlive(entry, report)
      if (vanished !== null) report.entries.set(entry.agentProcess.id, vanished)
    }
    return changed
  }

  /** A supervisor does not answer: its living processes are unknown now, and its ended ones stay ended. */
  lose(source: string): void {
    const report = this.#sources.get(source)
    if (report !== undefined) report.isKnown = false
  }

  /** The observer itself was away: no report counts until its supervisor is asked again. */
  doubt(): void {
    for (const report of this.#sources.values()) report.isKnown = false
  }

  get isEmpty(): boolean {
    return this.#index().size === 0
  }

  /** The agents whose processes are reported. */
  agents(): Iterable<string> {
    return this.#index().keys()
  }

  /** Null where nothing is known: no process, or one of which nobody can say whether it lives. */
  of(agent: string): ProcessFinding | null {
    const entries = this.#index().get(agent) ?? []
    const living = pick(entries, ({ report, agentProcess }) => report.isKnown && agentProcess.state === 'living')
    if (living !== null) return finding('living', living)
    const hindered = pick(entries, ({ report, agentProcess }) => report.isKnown && agentProcess.state === 'hindered')
    if (hindered !== null) return finding('hindered', hindered)
    if (entries.some(({ agentProcess }) => agentProcess.state !== 'ended')) return null
    const dead = entries.filter(({ isPardoned }) => !isPardoned)
    const witnessed = pick(dead, ({ wasAlive }) => wasAlive)
    if (witnessed !== null) return finding('ended', witnessed)
    const found = pick(dead, () => true)
    return found === null ? null : finding('found_ended', found)
  }

  isHindered(agent: string): boolean {
    return this.of(agent)?.state === 'hindered'
  }

  /** The agent was heard in a new incarnation, which none of its ended processes ran: they prove nothing any more. */
  pardon(agent: string): void {
    for (const entry of this.#index().get(agent) ?? [])
      if (entry.agentProcess.state === 'ended') entry.isPardoned = true
  }

  #index(): Map<string, Entry[]> {
    if (this.#byAgent !== null) return this.#byAgent
    this.#byAgent = Map.groupBy(
      [...this.#sources.values()].flatMap(({ entries }) => [...entries.values()]),
      ({ agentProcess }) => agentProcess.agent ?? '',
    )
    return this.#byAgent
  }
}

const REMOVED = 'it is not there any more'

/** What one supervisor reported. */
interface SourceReport {
  isKnown: boolean
  askedAt: number
  entries: Map<string, Entry>
}

interface Entry {
  readonly agentProcess: AgentProcess
  readonly source: string
  readonly report: SourceReport
  /** It was seen alive before it ended. */
  readonly wasAlive: boolean
  isPardoned: boolean
}

function enter(known: Entry | undefined, agentProcess: AgentProcess, source: string, report: SourceReport): Entry {
  const isEnded = agentProcess.state === 'ended'
  const wasAlive = agentProcess.state === 'living' || agentProcess.state === 'hindered' || known?.wasAlive === true
  return { agentProcess, source, report, wasAlive, isPardoned: isEnded && known?.isPardoned === true }
}

/** An ended process that was removed stays a proof for as long as its agent has no other that lives. */
function outlive({ agentProcess, source, wasAlive, isPardoned }: Entry, report: SourceReport): Entry | null {
  const hasAnother = [...report.entries.values()].some(
    (each) => each.agentProcess.agent === agentProcess.agent && each.agentProcess.state === 'living',
  )
  if (!wasAlive || isPardoned || hasAnother) return null
  const why = agentProcess.state === 'ended' ? agentProcess.why : REMOVED
  return {
    agentProcess: { ...agentProcess, state: 'ended', why, mayStart: false },
    source,
    report,
    wasAlive,
    isPardoned,
  }
}

function pick(entries: readonly Entry[], fits: (entry: Entry) => boolean): Entry | null {
  return entries.find(fits) ?? null
}

function finding(state: ProcessFinding['state'], { agentProcess, source, report }: Entry): ProcessFinding {
  return { state, agentProcess, source, isKnown: report.isKnown, askedAt: report.askedAt }
}
