import { existsSync } from 'node:fs'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { type CommandContext, ENDING_SIGNALS } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { identityFile } from '#identity/identity-file.ts'
import { readSettings } from '#runtime/read-settings.ts'
import type { SettingName } from '#runtime/settings.ts'
import { parseBridge } from '../init/bridge-address.ts'
import {
  type BringUp,
  checkBridge,
  invite,
  join,
  startServices,
  type WorkerToInvite,
  waitUntilConnected,
  workersOf,
} from '../init/bring-up.ts'
import { Dialogue, Interrupted } from '../init/dialogue.ts'
import { type HostOptions, openHost, ROLES, type ThisHost, watcherOf } from '../init/host-roles.ts'
import type { GivenOptions, QuestionContext } from '../init/question-context.ts'
import { type Answers, askQuestions, checkGivenOptions, withoutEmpty } from '../init/questions.ts'
import {
  draftSettings,
  readSettingsFile,
  type SettingsDraft,
  type SettingValues,
  writeDraft,
} from '../init/settings-draft.ts'
import { numberedList, type Todo, todoText } from '../init/todo.ts'
import { role as roleName, wholeNumber } from '../option-parsers.ts'
import { keepAwakeTask } from '../wsl-keep-awake-task.ts'

const EXAMPLES = `
Examples:
  sudo s2 init                                 asks, tests each answer, writes the settings, and starts the services
  sudo s2 init --role worker --join - --wake 'tmux send-keys -t agent "s2 check" Enter' <invitation
  sudo s2 init --role orchestrator --bridge-url bridge.example.org --certificate own \\
          --remote ssh://git@host/fleet.git --start --worker 3:backend
  s2 init --wsl-task                           prints a task for Windows that keeps WSL running

Settings that are set already stay unless --force is given; comments and other settings always stay. Nothing is written
before all questions are answered; run it again to go on from there.`

const TRUSTS = ['own', 'files', 'proxy'] as const

interface Options extends HostOptions, GivenOptions {
  readonly worker?: readonly WorkerToInvite[]
  readonly start?: boolean
  readonly wslTask?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .addOption(new Option('--role <role>', 'the role of this host').choices(ROLES))
    .option('--bridge-url <address>', 'name, address or URL at which workers reach the bridge (S2_BRIDGE_URL)')
    .addOption(
      new Option('--certificate <whose>', 'made here (own), your own files, or that of a proxy').choices(TRUSTS),
    )
    .option('--tls-cert <file>', 'your certificate (S2_TLS_CERT)', absolute)
    .option('--tls-key <file>', 'its key (S2_TLS_KEY)', absolute)
    .option(
      '--tls-ca <file>',
      'the authority that signed it, where other machines do not know it (S2_TLS_CA)',
      absolute,
    )
    .option('--remote <git>', 'git remote that credentials go through (S2_GIT_REMOTE)')
    .option('--accept-host-key <fingerprint>', 'fingerprint of the key of its host, SHA256:…, which you have compared')
    .option('--join <line>', 'the line that `s2 worker invite` printed; -: it is read from standard input')
    .option('--wake <command>', 'command that wakes the agent (S2_WAKE)')
    .addOption(
      new Option('--worker <number:role>', 'invite a worker; may be repeated').argParser(
        (text, before?: readonly WorkerToInvite[]) => [...(before ?? []), enrolment(text)],
      ),
    )
    .option('--start', 'start the services')
    .option('--no-start', 'start nothing')
    .option('--folder <path>', 'folder of the settings files', absolute)
    .option('--state <path>', 'folder of the data', absolute)
    .option('--owner <user>', 'user that the services run as')
    .option('--worker-state <path>', 'folder of the worker’s data, on a host with both roles', absolute)
    .option('--worker-owner <user>', 'user of the worker’s services, on a host with both roles')
    .option('--force', 'change settings that are set already')
    .option('--wsl-task', 'print a task for Windows that keeps WSL running, and do nothing else')
    .option('--json', 'print JSON, and ask nothing')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      if (options.wslTask === true) return context.print(keepAwakeTask(context.env.WSL_DISTRO_NAME))
      await init(context, options)
    })
}

function absolute(path: string): string {
  if (!path.startsWith('/')) throw new InvalidArgumentError('It must begin with /.')
  return path
}

/** Reads `3:backend`. */
function enrolment(text: string): WorkerToInvite {
  const cut = text.indexOf(':')
  if (cut < 1) throw new InvalidArgumentError('It must be a number and a role, such as 3:backend.')
  return { number: wholeNumber(text.slice(0, cut)), role: roleName(text.slice(cut + 1)) }
}

async function init(context: CommandContext, options: Options): Promise<void> {
  const ending = new AbortController()
  using _ = context.onSignal(ENDING_SIGNALS, () => ending.abort())
  const tell = options.json === true ? () => undefined : context.tell
  const canAsk = context.isAttended && context.screen.isTerminal && options.json !== true
  const dialogue = new Dialogue({ ...context, tell }, canAsk, ending.signal)
  const made: string[] = []
  let isWritten = false
  try {
    const host = await openHost(context, options, dialogue)
    const talk: QuestionContext = { context, dialogue, host, given: options, onMade: (what) => made.push(what) }
    await checkOptions(talk)
    const answers = await askQuestions(talk)
    const drafts = await draftSettings(host.folder, filesOf(host, answers), true)
    for (const draft of drafts) if (draft.isChanged) await writeDraft(draft, host.folder)
    isWritten = true
    printWritten(context, drafts, options)
    const todos = await bringUpHost(talk, answers, drafts, options)
    printOutcome(context, host, drafts, todos, options)
    if (todos.some(({ isFailure }) => isFailure)) throw new Exit(EXIT.failed)
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
    const kept = made.length === 0 ? '' : `; made and kept: ${made.join(', ')}`
    const next = isWritten ? 'run s2 init again: it goes on from there' : error.next
    throw new UsageError(
      `${isWritten ? 'the settings are written, the rest is not done' : 'nothing was written'}: ${error.message}${kept}`,
      next,
    )
  }
}

/** Parses the values of options as services will, and compares them with what is set, before any question is asked. */
async function checkOptions(talk: QuestionContext): Promise<void> {
  const { given, host } = talk
  checkGivenOptions(talk)
  const S2_BRIDGE_URL = given.bridgeUrl === undefined ? undefined : urlOrText(given.bridgeUrl)
  const common = withoutEmpty({ S2_BRIDGE_URL, S2_GIT_REMOTE: given.remote })
  const watcher = withoutEmpty({ S2_WAKE: given.wake })
  const all = { ...common, ...watcher } as Record<string, string>
  readSettings(all, Object.keys(all) as SettingName[])
  await draftSettings(host.folder, filesOf(host, { common, watcher }), given.force === true)
}

/** The URL of an address; a text that is none stays as it is, and its setting refuses it. */
function urlOrText(text: string): string {
  try {
    return parseBridge(text).url
  } catch {
    return text
  }
}

/** The settings to write, by the name of the file. */
function filesOf(
  { role }: Pick<ThisHost, 'role'>,
  { common, watcher }: Pick<Answers, 'common' | 'watcher'>,
): Map<string, SettingValues> {
  const files = new Map<string, SettingValues>([['s2.env', common]])
  files.set(`${watcherOf(role)}.env`, watcher)
  return new Map([...files].filter(([, settings]) => Object.keys(settings).length > 0))
}

function printWritten(context: CommandContext, drafts: readonly SettingsDraft[], { json }: Options): void {
  if (json === true) return
  for (const { path, settings, isChanged } of drafts)
    context.print(`${path}: ${isChanged ? Object.keys(settings).join(', ') : 'set already'}\n`)
  if (drafts.length === 0) context.print('nothing has to be set: the defaults are enough\n')
}

/** Brings the host up with its settings. Answers what is left to do. */
async function bringUpHost(
  talk: QuestionContext,
  answers: Answers,
  drafts: readonly SettingsDraft[],
  options: Options,
): Promise<Todo[]> {
  const { context, dialogue, host } = talk
  const todos = [...answers.todos]
  const settings = await readSettingsFile(host.folder, 's2.env')
  const bringUp: BringUp = { context, dialogue, host, settings, todos }
  const wakes =
    { ...settings, ...(await readSettingsFile(host.folder, `${watcherOf(host.role)}.env`)) }.S2_WAKE !== undefined
  const changed = new Set(drafts.filter(({ isChanged }) => isChanged).map(({ path }) => path))
  const isChanged = (service: string): boolean =>
    changed.has(`${host.folder}/s2.env`) || changed.has(`${host.folder}/${service}.env`)
  const runs = await startServices(bringUp, wakes, options.start, isChanged)
  if (host.orchestrator !== null && runs) await checkBridge(bringUp)
  const invited = host.orchestrator === null ? new Map<string, string>() : await inviteWanted(bringUp, options, runs)
  const line = answers.invitation ?? (host.role === 'both' ? ([...invited.values()][0] ?? null) : null)
  const hasJoined = line === null ? host.role === 'worker' && !isNew(host) : await join(bringUp, line)
  if (host.worker !== null && line === null && !hasJoined)
    todos.push({
      what: 'join the fleet, by the line that `s2 worker invite` prints on the orchestrator’s host',
      commands: [`${host.workerCommand} worker join`],
    })
  if (host.worker !== null && runs && hasJoined) await waitUntilConnected(bringUp)
  return todos
}

/** Whether this host's worker has no keys yet. */
function isNew({ worker }: ThisHost): boolean {
  return worker === null || !existsSync(identityFile(worker.state))
}

/** Invites the workers that options or answers name, and lists the steps on their hosts. Answers the lines by worker. */
async function inviteWanted(bringUp: BringUp, options: Options, runs: boolean): Promise<ReadonlyMap<string, string>> {
  const { dialogue, todos, host } = bringUp
  const { command } = host
  const wanted = options.worker ?? (runs ? await askWorkers(dialogue) : [])
  if (!runs) {
    const again = wanted.map(({ number, role }) => `--worker ${number}:${role}`).join(' ')
    todos.push({
      what: 'invite each worker',
      commands: [again === '' ? `${command} worker invite N --role ROLE` : `${command} init ${again}`],
    })
    return new Map()
  }
  const lines = await invite(bringUp, wanted)
  const own = host.role === 'both' ? [...lines.keys()][0] : undefined
  for (const [agent, line] of lines) {
    if (agent === own) continue
    todos.push({
      what: `on the host of ${agent}, in a checkout, within an hour`,
      commands: ['sudo make install ROLE=worker', `sudo s2 init --role worker --join ${line}`],
    })
  }
  if (lines.size === 0 && (await workersOf(bringUp)).size === 0)
    todos.push({ what: 'invite each worker', commands: [`${command} worker invite N --role ROLE`] })
  return lines
}

async function askWorkers(dialogue: Dialogue): Promise<WorkerToInvite[]> {
  const wanted: WorkerToInvite[] = []
  const check = (answer: string): string | null => {
    try {
      if (answer !== '') enrolment(answer)
      return null
    } catch (error) {
      return (error as Error).message
    }
  }
  while (dialogue.canAsk) {
    const question =
      wanted.length === 0
        ? 'Which worker do you want to invite, as number:role (1:backend)? Empty: none now. '
        : 'Another one? Empty: no. '
    const answer = await dialogue.ask(question, check)
    if (answer === '') break
    wanted.push(enrolment(answer))
  }
  return wanted
}

function printOutcome(
  context: CommandContext,
  host: ThisHost,
  drafts: readonly SettingsDraft[],
  todos: readonly Todo[],
  { json }: Options,
): void {
  if (json === true) {
    const files = drafts.map(({ path, settings, isChanged }) => ({ path, settings, changed: isChanged }))
    context.print(`${JSON.stringify({ files, next: todos.map(todoText) })}\n`)
    return
  }
  context.print(todos.length === 0 ? '\nNothing is left to do.\n' : `\nLeft to do:\n${numberedList(todos)}`)
  if (host.worker !== null)
    context.print(`To run an agent here: ${host.workerCommand} work --exec 'claude -p -- "$S2_TASK_DESCRIPTION"'\n`)
  if (host.orchestrator !== null) context.print(`To see which agents are alive: ${host.command} status\n`)
}
