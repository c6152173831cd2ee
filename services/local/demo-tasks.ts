import type { Conversation } from '#fleet/conversation.ts'
import { ORCHESTRATOR, sessionId } from '#fleet/session-id.ts'
import { checkTask, type NewTask, PRIORITIES, type Priority } from '#fleet/task.ts'
import type { Chance, Clock } from '#runtime/clock.ts'
import { ConfigError } from '#runtime/read-settings.ts'
import type { Store } from '#store/store.ts'
import type { Fleet } from './parse-fleet-description.ts'
import { readJson } from './read-json.ts'

/** A task in the demo's file: given again and again to workers of its role. */
export interface DemoTask {
  readonly role: string
  readonly description: string
  readonly priority: Priority
}

/** Reads the tasks of a demo. Throws ConfigError with all faults. */
export function readDemo(path: string, fleet: Fleet): DemoTask[] {
  const value = readJson(path, "the demo's tasks")
  if (!Array.isArray(value) || value.length === 0) throw new ConfigError([`${path} must be a list of tasks`])
  const faults: string[] = []
  const tasks = value.map((each: unknown, index): DemoTask => {
    const { role, description, priority = 'P2' } = (each ?? {}) as Record<string, unknown>
    const known = PRIORITIES.find((word) => word === priority)
    if (typeof description !== 'string' || description === '') faults.push(`task ${index + 1} has no description`)
    if (!fleet.workers.some((worker) => worker.role === role))
      faults.push(`task ${index + 1}: no worker has the role ${JSON.stringify(role)}`)
    if (known === undefined) faults.push(`task ${index + 1}: priority must be one of ${PRIORITIES.join(', ')}`)
    return { role: String(role), description: String(description), priority: known ?? 'P2' }
  })
  if (faults.length > 0) throw new ConfigError(faults.map((fault) => `${path}: ${fault}`))
  return tasks
}

export interface DemoDealerParts {
  readonly store: Pick<Store, 'addTask' | 'tasks' | 'conversations' | 'verdicts'>
  readonly clock: Clock
  readonly chance: Chance
}

/** Plays the orchestrator: gives idle workers that are alive the next task of their role, one at a time. */
export class DemoDealer {
  readonly #tasks: readonly DemoTask[]
  readonly #parts: DemoDealerParts
  readonly #name: string
  readonly #next = new Map<string, number>()
  #dealt = 0

  constructor(tasks: readonly DemoTask[], parts: DemoDealerParts) {
    this.#tasks = tasks
    this.#parts = parts
    this.#name = Math.floor(parts.clock.wall() / 1000).toString(36)
  }

  get dealt(): number {
    return this.#dealt
  }

  /** Gives one task to an idle worker. Answers it, or null when no worker is both idle and alive. */
  async deal(): Promise<NewTask | null> {
    const { store, chance } = this.#parts
    const [conversations, open, { verdicts }] = await Promise.all([
      store.conversations(),
      store.tasks({ open: true, limit: 1_000 }),
      store.verdicts(),
    ])
    const isAlive = (agent: string): boolean =>
      verdicts.some((each) => each.agent === agent && each.verdict === 'alive')
    const idle = conversations.filter(
      ({ id, agents }) =>
        agents.a === ORCHESTRATOR && isAlive(agents.b) && !open.some(({ holder }) => holder === sessionId(id, 'b')),
    )
    const chosen = idle[Math.floor(chance() * idle.length)]
    if (chosen === undefined) return null
    const task = this.#taskFor(chosen)
    if (task === null) return null
    checkTask(task)
    await store.addTask(task)
    this.#dealt += 1
    return task
  }

  #taskFor({ id, roles }: Conversation): NewTask | null {
    const ofRole = this.#tasks.filter(({ role }) => role === roles.b)
    const turn = this.#next.get(roles.b) ?? 0
    const task = ofRole[turn % Math.max(1, ofRole.length)]
    if (task === undefined) return null
    this.#next.set(roles.b, turn + 1)
    return {
      id: `${roles.b.replace(/[^A-Za-z0-9]+/g, '-')}-${this.#name}-${turn + 1}`,
      description: task.description,
      priority: task.priority,
      role: task.role,
      holder: sessionId(id, 'b'),
      deadline: null,
      createdBy: sessionId(id, 'a'),
    }
  }
}
