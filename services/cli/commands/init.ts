import { type Command, InvalidArgumentError, Option } from 'commander'
import { type CommandContext, ENDING_SIGNALS } from '#console/context.ts'
import { EXIT, Exit, UsageError } from '#console/failure.ts'
import { readSettings } from '#runtime/read-settings.ts'
import type { SettingName } from '#runtime/settings.ts'
import { parseBridge } from '../init/bridge-address.ts'
import { type BringUp, checkBridge, startServices } from '../init/bring-up.ts'
import { Dialogue, Interrupted } from '../init/dialogue.ts'
import { type HostOptions, openHost, ROLES, type ThisHost, watcherOf } from '../init/host-roles.ts'
import { invitationsLeft, inviteWorkers, type WorkerToInvite, workerToInvite } from '../init/invite-workers.ts'
import { joinHost, joinLeft, ownMembership, waitUntilConnected } from '../init/join-host.ts'
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
import { keepAwakeTask } from '../wsl-keep-awake-task.ts'

const EXAMPLES = `
Examples:
  sudo s2 init                                 asks, tests each answer, writes the settings, and starts the services
  sudo s2 init --role worker --join - --start --wake 'tmux send-keys -t agent "s2 check" Enter' <invitation
  sudo s2 init --role orchestrator --bridge-url bridge.example.org --certificate own \\
          --remote ssh://git@host/fleet.git --start --worker 3:backend
  s2 init --wsl-task                           prints a task for Windows that keeps WSL running

Settings that are set already stay unless --force is given; comments and other settings always stay. Nothing is written
before all questions are answered; run it again to go on from there.`

const TRUSTS = ['own', 'files', 'proxy'] as const

interface Options extends HostOptions, GivenOptions {
  readonly start?: boolean
  readonly wslTask?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command.addOption(new Option('--role <role>', 'the role of this host').choices(ROLES))
  defineBridge(command)
  defineWorkers(command)
  definePlaces(command)
  command
    .option('--start', 'start the services')
    .option('--no-start', 'start nothing')
    .option('--force', 'change what is set already, and leave the fleet that this host belongs to')
    .option('--wsl-task', 'print a task for Windows that keeps WSL running, and do nothing else')
    .option('--json', 'print JSON, and ask nothing')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      if (options.wslTask === true) return context.print(keepAwakeTask(context.env.WSL_DISTRO_NAME))
      await init(context, options)
    })
}

function defineBridge(command: Command): void {
  command
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
}

function defineWorkers(command: Command): void {
  command
    .option('--remote <git>', 'git remote that credentials go through (S2_GIT_REMOTE); a worker is told it')
    .option('--accept-host-key <fingerprint>', 'fingerprint of the key of its host, SHA256:…, which you have compared')
    .option('--join <line>', 'the line that `s2 worker invite` printed; -: it is read from standard input')
    .option('--wake <command>', 'command that wakes the agent (S2_WAKE)')
    .addOption(
      new Option('--worker <number:role>', 'invite a worker; may be repeated').argParser(
        (text, before?: readonly WorkerToInvite[]) => [...(before ?? []), workerToInvite(text)],
      ),
    )
}

function definePlaces(command: Command): void {
  command
    .option('--folder <path>', 'folder of the settings files', absolute)
    .option('--state <path>', 'folder of the data', absolute)
    .option('--owner <user>', 'user that the services run as')
    .option('--worker-state <path>', 'folder of the worker’s data, on a host with both roles', absolute)
    .option('--worker-owner <user>', 'user of the worker’s services, on a host with both roles')
}

function absolute(path: string): string {
  if (!path.startsWith('/')) throw new InvalidArgumentError('It must begin with /.')
  return path
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
  const watcher = await readSettingsFile(host.folder, `${watcherOf(host.role)}.env`)
  const wakes = { ...settings, ...watcher }.S2_WAKE !== undefined
  const changed = new Set(drafts.filter(({ isChanged }) => isChanged).map(({ path }) => path))
  const isChanged = (service: string): boolean =>
    changed.has(`${host.folder}/s2.env`) || changed.has(`${host.folder}/${service}.env`)
  const runs = await startServices(bringUp, wakes, options.start, isChanged)
  const isMember = (await ownMembership(host)) !== null
  const own = await bringUpOrchestrator(bringUp, options, { runs, needsOwn: host.role === 'both' && !isMember })
  await bringUpWorker(bringUp, options, { runs, isMember, line: answers.invitation ?? own })
  return todos
}

/** Looks whether workers reach the bridge, and invites them. Answers the line for this host's own worker, or null. */
async function bringUpOrchestrator(
  bringUp: BringUp,
  { worker: given, force }: Options,
  { runs, needsOwn }: { readonly runs: boolean; readonly needsOwn: boolean },
): Promise<string | null> {
  const { host, todos } = bringUp
  if (host.orchestrator === null) return null
  if (runs) {
    await checkBridge(bringUp)
    return await inviteWorkers(bringUp, { given, needsOwn, isForced: force === true })
  }
  todos.push(invitationsLeft(host, given))
  return null
}

interface WorkerState {
  readonly runs: boolean
  readonly isMember: boolean
  readonly line: string | null
}

/** Lets the worker of this host join, and waits until it is connected. */
async function bringUpWorker(bringUp: BringUp, { force }: Options, { runs, isMember, line }: WorkerState) {
  const { host, todos } = bringUp
  if (host.worker === null) return
  const hasJoined = line === null ? isMember : await joinHost(bringUp, line, force === true)
  // An own worker is invited by the step before, as long as that has not been tried.
  const isTried = todos.some(({ isFailure }) => isFailure === true)
  if (line === null && !isMember && (host.role === 'worker' || (runs && !isTried))) todos.push(joinLeft(host))
  if (runs && hasJoined) await waitUntilConnected(bringUp)
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
