import type { Condition } from '#fleet/agent-condition.ts'
import { AUDIT_ROOT, auditHash } from '#fleet/audit.ts'
import type { ObservedBeats } from '#fleet/beat.ts'
import { hashedEntryOf } from '#fleet/chain-check.ts'
import type { NewIncident } from '#fleet/incident.ts'
import type { Message, MessageDraft } from '#fleet/message.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { isLeased, isOpen, type Move, RETURN_CAUSES, type Report, type Task, type TaskEnding } from '#fleet/task.ts'
import type { Store } from '#store/store.ts'
import type { Timeline } from './clock.ts'
import type { History, Operation } from './history.ts'
import { put, storeOf, type Verb } from './network.ts'
import type { OpenIncident, Rule, Start } from './rule.ts'

/** What a reader of beats could know at the moment it read: how often each agent had been heard by then. */
export type Hearing = (heard: ReadonlyMap<string, number>, tick: string) => void

/** Who asks. */
export interface Asker {
  readonly name: string
  readonly onPulses?: Hearing
  /** Told before a move is made known to have happened. */
  readonly onMove?: (before: Task, move: Move) => void
}

/** Acts in the chain, and the operations that they tell of. */
const CHAINED: readonly (readonly [action: string, operation: Operation])[] = [
  ['send', 'message sent'],
  ['task_added', 'task added'],
  ['task_moved', 'task moved'],
  ['task_completed', 'task completed'],
]

/** What changes something that there are rules for, or shows it to somebody who will be judged by it. */
const WATCHED: ReadonlySet<Verb> = new Set<Verb>([
  'send',
  'beat',
  'pulses',
  'addTask',
  'cancelTask',
  'leaseTask',
  'report',
  'move',
  'endTask',
  'openIncident',
  'closeIncident',
  'issueTokens',
  'noteCondition',
])

/**
 * Stands at the store and sees everything that is done to it, by whomever, one after the other; holds it against rules of its
 * own, and not against the code that the store is made of.
 */
export class Witness {
  readonly #store: Store
  readonly #timeline: Timeline
  readonly #history: History
  readonly #agents: ReadonlyMap<SessionId, string>
  readonly #tasks = new Map<string, Task>()
  readonly #openTasks = new Map<string, Task>()
  readonly #sent = new Map<string, { readonly id: number; readonly text: string }>()
  readonly #texts = new Map<string, number>()
  readonly #heard = new Map<string, number>()
  readonly #heardAt = new Map<string, { readonly last: number; readonly before: number }>()
  readonly #signs = new Map<string, string>()
  readonly #sickUntil = new Map<string, number>()
  readonly #late: { readonly holder: SessionId; readonly report: Report }[] = []
  readonly #open = new Map<string, OpenIncident>()
  #rules: readonly Rule[] = []
  #cursor = 0
  #turn: Promise<unknown> = Promise.resolve()

  constructor(store: Store, timeline: Timeline, history: History, agents: ReadonlyMap<SessionId, string>) {
    this.#store = store
    this.#timeline = timeline
    this.#history = history
    this.#agents = agents
  }

  /** From now on these are told of what they are about. */
  holdAgainst(rules: readonly Rule[]): void {
    this.#rules = rules
  }

  /** The store, as one asker has it. */
  seenBy(asker: Asker): Store {
    return storeOf((verb, args) => {
      if (!WATCHED.has(verb)) return put(this.#store, verb, args)
      const answer = this.#turn.then(() => this.#watch(asker, verb, args))
      this.#turn = answer.catch(() => undefined)
      return answer
    }, this.#store)
  }

  agentOf(session: SessionId | null): string {
    return (session === null ? undefined : this.#agents.get(session)) ?? 'nobody'
  }

  /** The agent that has a task. */
  ownerOf(task: string): string {
    return this.agentOf(this.#tasks.get(task)?.holder ?? null)
  }

  /** What the last beat said that an agent itself has done so far, and in which of its lives. */
  signsOf(agent: string): string {
    return this.#signs.get(agent) ?? ''
  }

  /** The tasks that have not ended, and the incidents that are open. */
  openTasks(): readonly Task[] {
    return [...this.#openTasks.values()]
  }

  openIncidents(): readonly OpenIncident[] {
    return [...this.#open.values()]
  }

  /** When what an agent says of its place was last anything but well: Infinity while it says so. */
  sickUntil(agent: string): number {
    return this.#sickUntil.get(agent) ?? Number.NEGATIVE_INFINITY
  }

  /** The command of a task was started. */
  noteStart(start: Start): void {
    for (const rule of this.#rules) rule.onStarted?.(start)
  }

  /** The command of a task did its work. */
  noteDone(task: Task): void {
    for (const rule of this.#rules) rule.onDone?.(task)
  }

  /** When a beat of this agent came in last, and the one before it, by the true time. */
  heardAt(agent: string): { readonly last: number; readonly before: number } {
    return this.#heardAt.get(agent) ?? { last: Number.NEGATIVE_INFINITY, before: Number.NEGATIVE_INFINITY }
  }

  /** Promises 3 and 11, as they can be seen in the end: what was refused is evidence, and every act is in the chain. */
  async judge(): Promise<void> {
    for (const { holder, report } of this.#late) {
      const kept = await this.#store.evidence(report.task)
      if (kept.some((each) => each.holder === holder && each.report.epoch === report.epoch)) continue
      if (report.state === 'in_progress' && (await this.#gaveBack(holder, report))) continue
      this.#history.violate('late words are evidence', `${report.state} of ${report.task}@${report.epoch} by ${holder}`)
    }
    await this.#judgeChain()
  }

  /** What its holder goes on to say of a task that it gave back itself shows nothing. */
  async #gaveBack(holder: SessionId, { task, epoch }: Report): Promise<boolean> {
    const { attempts } = await this.#store.task(task)
    return attempts.some((each) => {
      return each.holder === holder && each.epoch === epoch && RETURN_CAUSES.some((cause) => cause === each.end)
    })
  }

  async #judgeChain(): Promise<void> {
    const acts = new Map<string, number>()
    let previous = AUDIT_ROOT
    for (const entry of await this.#store.audit(0, Number.MAX_SAFE_INTEGER)) {
      const { seq, action, hash } = entry
      const isRight = hash === auditHash(previous, hashedEntryOf(entry))
      if (!isRight) this.#history.violate('the chain holds', `entry ${seq}, ${action}`)
      previous = hash
      acts.set(action, (acts.get(action) ?? 0) + 1)
    }
    for (const [action, operation] of CHAINED) {
      const [told, done] = [acts.get(action) ?? 0, this.#history.count(operation)]
      if (told !== done)
        this.#history.violate('the chain holds', `${operation} ${done} times, in the chain ${told} times`)
    }
  }

  /** The id of the message with this text; undefined when there is none. */
  messageOf(text: string): number | undefined {
    return this.#texts.get(text)
  }

  async #watch(asker: Asker, verb: Verb, args: readonly unknown[]): Promise<unknown> {
    if (verb === 'issueTokens') await this.#onIssue(args[0] as string)
    const answer = await this.#ask(verb, args)
    switch (verb) {
      case 'send':
        await this.#onSend(args as Parameters<Store['send']>, answer as Message)
        break
      case 'beat':
        await this.#onBeat()
        break
      case 'pulses':
        asker.onPulses?.(this.#heard, (answer as ObservedBeats).tick)
        break
      case 'addTask':
      case 'cancelTask':
        this.#follow(answer as Task, `${verb} by ${asker.name}`)
        break
      case 'leaseTask':
        await this.#followInterrupted(args[0] as SessionId)
        this.#onLease(args as Parameters<Store['leaseTask']>, answer as Task | null)
        break
      case 'report':
        this.#onReport(args as Parameters<Store['report']>, answer as Task)
        break
      case 'move':
        await this.#onMove(asker, args[0] as Move, answer as boolean)
        break
      case 'endTask':
        if (answer === true) await this.#onEnding(asker, args[0] as TaskEnding)
        break
      case 'noteCondition':
        this.#onCondition(...(args as Parameters<Store['noteCondition']>))
        break
      case 'openIncident':
        if (answer === true) this.#onOpened(asker, args[0] as NewIncident)
        break
      case 'closeIncident':
        if (answer === true) this.#onClosed(asker, args[0] as string)
        break
      default:
    }
    return answer
  }

  async #ask(verb: Verb, args: readonly unknown[]): Promise<unknown> {
    try {
      return await put(this.#store, verb, args)
    } catch (error) {
      const { code } = error as { code: string }
      if (verb === 'report' && code === 'stale_epoch') {
        const [holder, report] = args as [SessionId, Report]
        const { task, epoch, state } = report
        this.#late.push({ holder, report })
        if (state !== 'in_progress') this.#history.did('late result refused', `${task}@${epoch} of ${holder}`)
      } else this.#history.note(`${verb} refused: ${code}`)
      throw error
    }
  }

  /** Promise 1: one key is one message, and one word is said once. */
  async #onSend([from, key, { text }]: [SessionId, string, MessageDraft], { id }: Message): Promise<void> {
    const name = `${from} ${key}`
    const earlier = this.#sent.get(name)
    if (earlier !== undefined) {
      if (earlier.id !== id) this.#history.violate('sent once', `${name} became ${earlier.id} and ${id}`)
      return
    }
    this.#sent.set(name, { id, text })
    if (this.#texts.has(text)) this.#history.violate('sent once', `“${text}” is ${this.#texts.get(text)} and ${id}`)
    this.#texts.set(text, id)
    this.#history.did('message sent', `${id} ${text}`)
    const task = /"task_id":"([^"]+)"/.exec(text)?.[1]
    if (task !== undefined) this.#follow(await this.#store.task(task), `a letter of ${from}`)
  }

  async #onBeat(): Promise<void> {
    const { pulses, cursor } = await this.#store.pulses(this.#cursor)
    this.#cursor = cursor
    for (const { session, incarnation, seq, work } of pulses) {
      const agent = this.agentOf(session)
      this.#heardAt.set(agent, { last: this.#timeline.now, before: this.heardAt(agent).last })
      this.#signs.set(agent, `${incarnation} ${work}`)
      this.#heard.set(agent, (this.#heard.get(agent) ?? 0) + 1)
      this.#history.did('beat heard', `${session} ${incarnation} ${seq}`)
    }
  }

  async #onIssue(agent: string): Promise<void> {
    const live = await this.#store.conversations()
    if (!live.some(({ agents }) => agents.b === agent)) this.#history.did('conversation revived', agent)
  }

  /** Who asks for a task lets go of what another life of it had leased, whether it gets one or not. */
  async #followInterrupted(holder: SessionId): Promise<void> {
    for (const task of await this.#store.tasks({ open: true, holder })) {
      const known = this.#tasks.get(task.id)
      if (known !== undefined && known.epoch !== task.epoch && !isLeased(task.state))
        this.#follow(task, 'an interruption')
    }
  }

  #onLease([holder, incarnation]: Parameters<Store['leaseTask']>, task: Task | null): void {
    if (task === null) return
    this.#history.did('task leased', `${task.id}@${task.epoch} by ${holder} ${incarnation}`)
    const isRight = task.holder === holder && task.incarnation === incarnation && isLeased(task.state)
    if (!isRight) this.#history.violate('one owner', `${holder} leased ${task.id}, which ${task.holder} has`)
    this.#follow(task, 'a lease')
  }

  /** Promise 3: only the owner's word counts, at the epoch that is. */
  #onReport([holder, report]: [SessionId, Report], task: Task): void {
    const before = this.#tasks.get(report.task)
    if (before !== undefined && before.epoch > report.epoch && wasReturned(task, holder, report)) return
    if (before?.holder !== holder || before.epoch !== report.epoch) {
      const owner = `${before?.holder} has it at ${before?.epoch}`
      this.#history.violate(
        'one owner',
        `${report.state} of ${report.task}@${report.epoch} by ${holder}, though ${owner}`,
      )
    }
    this.#follow(task, `a report of ${holder}`)
    if (task.state !== 'failed' || before?.state === 'failed') return
    for (const rule of this.#rules) rule.onFailed?.(task, 'reported', this.agentOf(holder))
  }

  async #onEnding({ name }: Asker, { task, reason }: TaskEnding): Promise<void> {
    const ended = await this.#store.task(task)
    this.#follow(ended, `an end by ${name}`)
    for (const rule of this.#rules) rule.onFailed?.(ended, reason, name)
  }

  async #onMove(asker: Asker, move: Move, moved: boolean): Promise<void> {
    if (!moved) return
    const before = this.#tasks.get(move.task)
    const after = await this.#store.task(move.task)
    if (before === undefined || before.epoch !== move.epoch || !isOpen(before.state)) {
      this.#history.violate('one owner', `${asker.name} moved ${move.task}@${move.epoch}, which is at ${before?.epoch}`)
    } else {
      asker.onMove?.(before, move)
      for (const rule of this.#rules) rule.onMoved?.(before, move, asker.name)
    }
    this.#history.did(
      'task moved',
      `${move.task}@${after.epoch} ${before?.holder} → ${move.to} (${move.reason}) by ${asker.name}`,
    )
    this.#follow(after, 'a move')
  }

  /** Promise 3 once more, by what a task was and what it is. */
  #follow(after: Task, by: string): void {
    const { id } = after
    const before = this.#tasks.get(id)
    this.#tasks.set(id, after)
    if (isOpen(after.state)) this.#openTasks.set(id, after)
    else this.#openTasks.delete(id)
    if (before === undefined) {
      this.#history.did('task added', `${id} for ${after.holder}`)
      return
    }
    const what = `${id}: ${nameOf(before)} → ${nameOf(after)} by ${by}`
    const broken = (why: string): void => this.#history.violate('one owner', `${why}: ${what}`)
    if (after.epoch < before.epoch) broken('an epoch went back')
    if (after.holder !== before.holder && after.epoch <= before.epoch) broken('a new owner at an old epoch')
    const wasLeased = isLeased(before.state) && isLeased(after.state)
    if (wasLeased && after.incarnation !== before.incarnation && after.epoch <= before.epoch) {
      broken('a new life at an old epoch')
    }
    if (!isOpen(before.state) && after.state !== before.state) broken('it had ended')
    if (after.state === before.state) return
    if (after.state === 'completed') this.#history.did('task completed', what)
    else this.#history.note(what)
  }

  #onCondition(session: SessionId, condition: Condition | null): void {
    const agent = this.agentOf(session)
    if (condition !== null) this.#sickUntil.set(agent, Number.POSITIVE_INFINITY)
    else if (this.#sickUntil.has(agent)) this.#sickUntil.set(agent, Math.min(this.sickUntil(agent), this.#timeline.now))
    this.#history.note(`${agent} is ${condition?.state ?? 'well'}`)
  }

  /** Promise 7. */
  #onOpened({ name }: Asker, incident: NewIncident): void {
    const { cause } = incident
    this.#history.note(`incident opened: ${cause}`)
    for (const rule of this.#rules) rule.onOpened?.(incident, name)
    if (this.#open.has(cause)) this.#history.violate('one cause, one incident', `${cause} was opened twice`)
    this.#open.set(cause, { ...incident, openedAt: this.#timeline.now })
  }

  #onClosed({ name }: Asker, cause: string): void {
    const incident = this.#open.get(cause)
    this.#history.note(`incident closed: ${cause}`)
    if (incident === undefined) this.#history.violate('one cause, one incident', `${cause} was closed twice`)
    else for (const rule of this.#rules) rule.onClosed?.(incident, name)
    this.#open.delete(cause)
  }
}

function nameOf({ state, epoch, holder }: Task): string {
  return `${state}@${epoch} of ${holder ?? 'nobody'}`
}

/** A request that comes twice gives a task back once. */
function wasReturned({ attempts }: Task, holder: SessionId, { state, epoch, cause }: Report): boolean {
  return (
    state === 'returned' &&
    attempts.some((each) => each.epoch === epoch && each.holder === holder && each.end === cause)
  )
}
