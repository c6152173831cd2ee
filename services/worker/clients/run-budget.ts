import { type Budgets, dollarsLeft, reachedBudget, spentText, type Used, usedWith } from '#agents/budget.ts'
import type { Task } from '#fleet/task.ts'
import { NO_USAGE, type Usage } from '#fleet/usage.ts'
import type { PlaceFault } from '../place-fault.ts'
import type { CommandEnd } from '../running-command.ts'
import type { DaySpending } from './day-spending.ts'

/** The budgets of an agent, by what was used today. */
export class AgentBudget {
  readonly #budgets: Budgets
  readonly #spending: DaySpending

  constructor(budgets: Budgets, spending: DaySpending) {
    this.#budgets = budgets
    this.#spending = spending
  }

  /** Why nothing may be begun before the day ends; null where something may. */
  fault(): PlaceFault | null {
    const why = this.#dayIsSpent()
    return why === null ? null : { ...this.#untilTomorrow(why), look: () => this.#dayIsSpent() }
  }

  /** Of one start of a task, which begins now. */
  of(task: Task): RunBudget {
    return new RunBudget(this.#budgets, { task: task.usage ?? NO_USAGE, day: this.#spending.today }, (why) =>
      this.#untilTomorrow(why),
    )
  }

  async note(usage: Usage): Promise<void> {
    await this.#spending.add(usage)
  }

  #untilTomorrow(why: string): Omit<PlaceFault, 'look'> {
    return { state: 'parked', why, until: this.#spending.endsAt }
  }

  #dayIsSpent(): string | null {
    const { day } = this.#budgets
    if (day === null) return null
    const used = { task: NO_USAGE, day: this.#spending.today }
    if (reachedBudget({ task: null, day }, used) === null) return null
    return `the budget of the day is used up: ${spentText(day, used.day)}`
  }
}

/** The budgets of one start of a task. */
export class RunBudget {
  readonly #budgets: Budgets
  readonly #before: Used
  readonly #untilTomorrow: (why: string) => Omit<PlaceFault, 'look'>

  constructor(budgets: Budgets, before: Used, untilTomorrow: (why: string) => Omit<PlaceFault, 'look'>) {
    this.#budgets = budgets
    this.#before = before
    this.#untilTomorrow = untilTomorrow
  }

  /** US dollars that the client may use; null where no budget is in dollars. */
  get dollars(): number | null {
    return dollarsLeft(this.#budgets, this.#before)?.left ?? null
  }

  /** Whether a budget is reached by what this start has used. */
  isReached(usage: Usage): boolean {
    return reachedBudget(this.#budgets, usedWith(this.#before, usage)) !== null
  }

  /**
   * The end of a run that was left for a budget: the task has failed for its own, and goes back for that of the day. A client that
   * counts its dollars itself may stop a little before.
   */
  end(usage: Usage): CommandEnd {
    const used = usedWith(this.#before, usage)
    const which = reachedBudget(this.#budgets, used) ?? dollarsLeft(this.#budgets, used)?.of ?? 'task'
    const budget = this.#budgets[which]
    const said = budget === null ? '' : `: ${spentText(budget, used[which])}`
    const why = `the budget of the ${which} is used up${said}`
    return { exitCode: 1, signal: null, tail: why, client: which === 'task' ? 'answered' : this.#untilTomorrow(why) }
  }
}
