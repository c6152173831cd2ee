import { randomBytes } from 'node:crypto'
import { type Command, Option } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { UsageError } from '#console/failure.ts'
import { reachAdministration, reachFleet } from '#console/store-access.ts'
import { table } from '#console/table.ts'
import { ago, plain } from '#console/text.ts'
import { agentNames, type Conversation } from '#fleet/conversation.ts'
import { S2Error } from '#fleet/errors.ts'
import { parseSession, partnerOf, type SessionId, sessionId } from '#fleet/session.ts'
import {
  checkTask,
  DESCRIPTION_MAX,
  type NewTask,
  PRIORITIES,
  type Priority,
  TASK_STATES,
  type Task,
  type TaskState,
} from '#fleet/task.ts'
import { closest } from '#runtime/config.ts'
import type { LateReport, Store } from '#store/store.ts'
import { count, duration, role } from '../option-parsers.ts'

const EXAMPLES = `
Examples:
  s2 task add 'run the tests of services/bridge and mend what fails' --to s2-worker-3
  s2 task add 'review branch x' --role review --priority P1 --id review-x
  cat plan.md | s2 task add - --role backend
  s2 task list --state failed
  s2 task show review-x
  s2 task cancel review-x

Adding one id twice is adding it once.`

export function define(command: Command, context: CommandContext): void {
  command.addHelpText('after', EXAMPLES)
  defineAdd(command.command('add').description('give somebody work'), context)
  command
    .command('list')
    .description('list tasks, open ones unless told otherwise')
    .addOption(new Option('--state <state>', 'only those in this state').choices([...TASK_STATES]))
    .option('--all', 'ended ones too')
    .option('--agent <agent>', 'only those of this agent or session')
    .option('--limit <n>', 'at most so many', count, 200)
    .option('--json', 'print JSON')
    .action(async (options: ListOptions) => await list(context, options))
  command
    .command('show <id>')
    .description('show all that is known of a task, and late results that were refused')
    .option('--json', 'print JSON')
    .action(async (id: string, options: { json?: true }) => await showOne(context, id, options.json === true))
  command
    .command('cancel <id...>')
    .description('withdraw open tasks; whoever works on one is told to stop')
    .option('--json', 'print JSON')
    .action(async (ids: string[], options: { json?: true }) => await cancel(context, ids, options.json === true))
}

interface AddOptions {
  readonly to?: string
  readonly role?: string
  readonly priority: Priority
  readonly id?: string
  readonly deadline?: number
  readonly json?: true
}

function defineAdd(command: Command, context: CommandContext): void {
  command
    .argument('<description...>', 'what is to be done; - reads it from standard input')
    .option('--to <agent>', 'who shall do it: an agent, or one of its sessions')
    .option('--role <role>', 'what kind of agent shall do it, when it is nobody in particular', role)
    .addOption(new Option('--priority <p>', 'P0 is the most urgent').choices([...PRIORITIES]).default('P2'))
    .option('--id <id>', 'what it is called; made up unless said')
    .option('--deadline <duration>', 'when it should be done, from now', duration)
    .option('--json', 'print JSON')
    .action(async (words: string[], options: AddOptions) => {
      const description =
        words.length === 1 && words[0] === '-'
          ? (await context.input(DESCRIPTION_MAX * 4 + 1)).trimEnd()
          : words.join(' ')
      await add(context, description, options)
    })
}

async function add(context: CommandContext, description: string, options: AddOptions): Promise<void> {
  if (options.to === undefined && options.role === undefined)
    throw new UsageError('missing --to or --role', 'say --to <agent>, or --role <role> for any agent of a role')
  await using reached = await reachFleet(context)
  const conversations = await reached.store.conversations()
  const holder = options.to === undefined ? null : holderOf(options.to, conversations)
  const task: NewTask = {
    id: options.id ?? `t-${randomBytes(5).toString('hex')}`,
    description,
    priority: options.priority,
    role: options.role ?? roleOf(holder, conversations),
    holder,
    deadline: options.deadline === undefined ? null : context.clock.wall() + options.deadline,
    createdBy: holder === null ? null : partnerOf(holder),
  }
  checkTask(task)
  const added = await reached.store.addTask(task)
  if (options.json === true) return context.print(`${JSON.stringify(added)}\n`)
  context.print(`${added.id} is ${added.state}${added.holder === null ? '' : `: ${added.holder} has it`}\n`)
}

/** The worker's end of an agent's newest conversation, or the session itself. */
function holderOf(to: string, conversations: readonly Conversation[]): SessionId {
  if (to.includes('/')) {
    const { conversation, side } = parseSession(to)
    return sessionId(conversation, side)
  }
  const found =
    conversations.findLast(({ id, agents }) => agents.b === to || id === to) ?? onlyOfRole(to, conversations)
  if (found !== undefined) return sessionId(found.id, 'b')
  const near = closest(
    to,
    conversations.map(({ agents }) => agents.b),
  )
  throw new S2Error('not_found', `no task was added: there is no agent ${JSON.stringify(to)}`, {
    next: near === undefined ? '`s2 status` shows who is there' : `did you mean ${near}?`,
  })
}

function onlyOfRole(role: string, conversations: readonly Conversation[]): Conversation | undefined {
  const found = conversations.filter(({ roles }) => roles.b === role)
  return found.length === 1 ? found[0] : undefined
}

function roleOf(holder: SessionId | null, conversations: readonly Conversation[]): string | null {
  return conversations.find(({ id }) => holder !== null && sessionId(id, 'b') === holder)?.roles.b ?? null
}

interface ListOptions {
  readonly state?: TaskState
  readonly all?: true
  readonly agent?: string
  readonly limit: number
  readonly json?: true
}

async function list(context: CommandContext, options: ListOptions): Promise<void> {
  await using reached = await reachFleet(context)
  const { store } = reached
  const [tasks, conversations] = await Promise.all([
    store.tasks({
      limit: options.limit,
      ...(options.state !== undefined ? { state: options.state } : options.all === true ? {} : { open: true }),
    }),
    store.conversations(),
  ])
  const agentOf = agentNames(conversations)
  const wanted = tasks.filter(
    ({ holder }) =>
      options.agent === undefined || holder === options.agent || (holder !== null && agentOf(holder) === options.agent),
  )
  if (options.json === true) return context.print(`${JSON.stringify(wanted, null, 2)}\n`)
  if (wanted.length === 0) {
    return context.print(
      options.all === true ? 'no such tasks\n' : 'no such tasks are open; --all shows the ended ones too\n',
    )
  }
  const now = context.clock.wall()
  const rows = wanted.map((task) => [
    task.id,
    task.priority,
    task.state,
    task.holder === null ? '' : agentOf(task.holder),
    task.role ?? '',
    String(task.epoch),
    ago(now - task.createdAt),
    task.progress ?? task.description,
  ])
  const titles = ['TASK', 'PRIO', 'STATE', 'AGENT', 'ROLE', 'EPOCH', 'AGE'].map((title) => ({ title }))
  const columns = [...titles, { title: 'DOING', stretches: true }]
  context.print(`${table(columns, rows, context.screen.columns).join('\n')}\n`)
}

async function showOne(context: CommandContext, id: string, json: boolean): Promise<void> {
  await using reached = await reachFleet(context)
  const task = await findTask(reached.store, id)
  const evidence = await reached.store.evidence(id).catch((error: unknown) => {
    if (error instanceof S2Error && error.code === 'forbidden') return []
    throw error
  })
  if (json) return context.print(`${JSON.stringify({ ...task, evidence }, null, 2)}\n`)
  context.print(inFull(task, evidence, context.clock.wall()))
}

async function findTask(store: Store, id: string): Promise<Task> {
  try {
    return await store.task(id)
  } catch (error) {
    if (!(error instanceof S2Error) || error.code !== 'not_found') throw error
    const near = closest(
      id,
      (await store.tasks({ limit: 500 })).map((task) => task.id),
    )
    const next = near === undefined ? '`s2 task list --all` shows those there are' : `did you mean ${near}?`
    throw new S2Error('not_found', `there is no task ${id}`, { next })
  }
}

function inFull(task: Task, evidence: readonly LateReport[], now: number): string {
  const { result } = task
  const lines: [string, string | null][] = [
    ['task', task.id],
    ['state', task.state],
    ['priority', task.priority],
    ['role', task.role],
    ['holder', task.holder],
    ['first had by', task.originalAssignee],
    ['epoch', String(task.epoch)],
    ['moves', String(task.moves)],
    ['created', `${ago(now - task.createdAt)} ago`],
    ['changed', `${ago(now - task.updatedAt)} ago`],
    ['deadline', task.deadline === null ? null : new Date(task.deadline).toISOString()],
    ['progress', task.progress],
    ['exit code', result === null ? null : (result.signal ?? String(result.exitCode ?? 'none'))],
  ]
  const head = lines.flatMap(([name, value]) => (value === null ? [] : [`${name.padEnd(12)}  ${plain(value)}`]))
  const late = evidence.map(
    ({ holder, report, at }) => `  ${ago(now - at)} ago ${holder} at epoch ${report.epoch}: ${report.state}`,
  )
  return `${[
    ...head,
    '',
    plain(task.description),
    ...(result === null || result.tail === ''
      ? []
      : ['', '── the end of what it printed', plain(result.tail.trimEnd())]),
    ...(late.length === 0 ? [] : ['', '── late reports that were refused', ...late]),
  ].join('\n')}\n`
}

async function cancel(context: CommandContext, ids: readonly string[], json: boolean): Promise<void> {
  await using reached = await reachAdministration(context)
  const tasks: Task[] = []
  for (const id of ids) {
    await findTask(reached.store, id)
    tasks.push(await reached.store.cancelTask(id))
    if (!json) context.print(`${id} is cancelled\n`)
  }
  if (json) context.print(`${JSON.stringify(tasks)}\n`)
}
