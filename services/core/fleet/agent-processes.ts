/** What an agent runs in: a container, a unit, a terminal session. */
export interface AgentProcess {
  /** Its supervisor's name for it. */
  readonly id: string
  /** Whose it is; null where it was taken from its agent: then it proves nothing any more. */
  readonly agent: string | null
  /** For people to read, e.g. `container s2-worker-3`. */
  readonly name: string
  readonly state: AgentProcessState
  /** What explains the state, e.g. `exit code 137, out of memory`; empty where nothing does. */
  readonly why: string
  /** Its owner allows that it is started again. */
  readonly mayStart: boolean
}

/** `hindered`: it lives, but its agent can hardly work (paused, unhealthy). `unknown`: its supervisor cannot tell. */
export type AgentProcessState = 'living' | 'hindered' | 'ended' | 'unknown'

/** What the bodies of an agent say of it. */
export interface ProcessFinding {
  /** `found_ended`: it was dead when the observer came, so it may be an old body of an agent that lives elsewhere. */
  readonly state: 'living' | 'hindered' | 'ended' | 'found_ended'
  /** The body that says so, and who told of it. */
  readonly agentProcess: AgentProcess
  readonly source: string
  /** Whether its supervisor answers now: nothing is started while it does not. */
  readonly isKnown: boolean
}

/**
 * The bodies that supervisors tell of, as one observer has them. Unknown is not dead: a supervisor that does not answer
 * proves nothing, and neither does a body that was never seen alive.
 */
export class AgentProcessTable {
  readonly #sources = new Map<string, Told>()
  #byAgent: Map<string, Entry[]> | null = null

  /** Takes in all bodies that a supervisor has now; those it had before and does not name have ended. Answers what changed. */
  take(source: string, bodies: readonly AgentProcess[]): AgentProcess[] {
    const told = this.#sources.get(source) ?? { isKnown: true, entries: new Map<string, Entry>() }
    this.#sources.set(source, told)
    this.#byAgent = null
    told.isKnown = true
    const before = told.entries
    told.entries = new Map()
    const changed: AgentProcess[] = []
    for (const agentProcess of bodies) {
      const known = before.get(agentProcess.id)
      before.delete(agentProcess.id)
      if (agentProcess.agent === null) continue
      told.entries.set(agentProcess.id, enter(known, agentProcess, source, told))
      if (known?.agentProcess.state !== agentProcess.state || known.agentProcess.why !== agentProcess.why)
        changed.push(agentProcess)
    }
    for (const entry of before.values()) {
      if (entry.agentProcess.state !== 'ended') changed.push({ ...entry.agentProcess, state: 'ended', why: REMOVED })
      const vanished = outlive(entry, told)
      if (vanished !== null) told.entries.set(entry.agentProcess.id, vanished)
    }
    return changed
  }

  /** A supervisor does not answer: what it said of the living is void, and the dead stay dead. */
  lose(source: string): void {
    const told = this.#sources.get(source)
    if (told !== undefined) told.isKnown = false
  }

  /** The observer itself was away: every supervisor is to be asked again. */
  doubt(): void {
    for (const told of this.#sources.values()) told.isKnown = false
  }

  get isEmpty(): boolean {
    return this.#index().size === 0
  }

  /** Whose bodies are told of. */
  agents(): Iterable<string> {
    return this.#index().keys()
  }

  /** Null where nothing is known: no body, or one of which nobody can tell whether it lives. */
  of(agent: string): ProcessFinding | null {
    const entries = this.#index().get(agent) ?? []
    const living = pick(entries, ({ told, agentProcess }) => told.isKnown && agentProcess.state === 'living')
    if (living !== null) return finding('living', living)
    const hindered = pick(entries, ({ told, agentProcess }) => told.isKnown && agentProcess.state === 'hindered')
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

  /** The agent was heard in a life that none of its dead bodies held: they prove nothing any more. */
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

/** What one supervisor told. */
interface Told {
  isKnown: boolean
  entries: Map<string, Entry>
}

interface Entry {
  readonly agentProcess: AgentProcess
  readonly source: string
  readonly told: Told
  /** It was seen alive before it ended. */
  readonly wasAlive: boolean
  isPardoned: boolean
}

function enter(known: Entry | undefined, agentProcess: AgentProcess, source: string, told: Told): Entry {
  const isEnded = agentProcess.state === 'ended'
  const wasAlive = agentProcess.state === 'living' || agentProcess.state === 'hindered' || known?.wasAlive === true
  return { agentProcess, source, told, wasAlive, isPardoned: isEnded && known?.isPardoned === true }
}

/** A dead body that was removed is proof for as long as its agent has no other that lives. */
function outlive({ agentProcess, source, wasAlive, isPardoned }: Entry, told: Told): Entry | null {
  const hasAnother = [...told.entries.values()].some(
    (each) => each.agentProcess.agent === agentProcess.agent && each.agentProcess.state === 'living',
  )
  if (!wasAlive || isPardoned || hasAnother) return null
  const why = agentProcess.state === 'ended' ? agentProcess.why : REMOVED
  return { agentProcess: { ...agentProcess, state: 'ended', why, mayStart: false }, source, told, wasAlive, isPardoned }
}

function pick(entries: readonly Entry[], fits: (entry: Entry) => boolean): Entry | null {
  return entries.find(fits) ?? null
}

function finding(state: ProcessFinding['state'], { agentProcess, source, told }: Entry): ProcessFinding {
  return { state, agentProcess, source, isKnown: told.isKnown }
}
