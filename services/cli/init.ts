import { chown, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { S2Error } from '#fleet/errors.ts'
import { ConfigError, readSettings } from '#runtime/config.ts'
import { SETTINGS, type SettingName } from '#runtime/settings.ts'
import { publish } from '#spool/atomic.ts'
import { UsageError } from './failure.ts'
import { settingIn, withSettings } from './settings-file.ts'
import type { Shell } from './shell.ts'
import { plain } from './text.ts'
import { keepAwakeTask } from './wsl.ts'

const EXAMPLES = `
Examples:
  s2 init                                      asks, and writes what services read when they start
  s2 init --role worker --remote ssh://git@host/fleet.git --number 3 \\
          --wake 'tmux send-keys -t agent "s2 check" Enter'
  s2 init --role orchestrator --bridge-url https://bridge.example.org --remote ssh://git@host/fleet.git
  s2 init --wsl-task                           a task for Windows that keeps WSL running

What is set already is left alone unless --force is given; comments and other settings stay in any case.`

const ROLES = ['orchestrator', 'worker', 'both'] as const
type Role = (typeof ROLES)[number]

interface Options {
  readonly role?: Role
  readonly bridgeUrl?: string
  readonly remote?: string
  readonly number?: string
  readonly wake?: string
  readonly folder?: string
  readonly force?: true
  readonly wslTask?: true
  readonly json?: true
}

export function define(command: Command, shell: Shell): void {
  command
    .addOption(new Option('--role <role>', 'what this host is').choices(ROLES))
    .option('--bridge-url <url>', 'where workers reach the bridge (S2_BRIDGE_URL)')
    .option('--remote <git>', 'git remote that credentials go through (S2_GIT_REMOTE)')
    .option('--number <n>', 'number of the worker (S2_WORKER)')
    .option('--wake <command>', 'what wakes the agent (S2_WAKE)')
    .option('--folder <path>', 'folder of the settings files', absolute)
    .option('--force', 'change what is set already')
    .option('--wsl-task', 'print a task for Windows that keeps WSL running, and do nothing else')
    .option('--json', 'print JSON, and ask nothing')
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      if (options.wslTask === true) return shell.print(keepAwakeTask(shell.env.WSL_DISTRO_NAME))
      await init(shell, options)
    })
}

function absolute(path: string): string {
  if (!path.startsWith('/')) throw new InvalidArgumentError('It must begin with /.')
  return path
}

async function init(shell: Shell, options: Options): Promise<void> {
  const answers = await complete(options, shell)
  const folder = options.folder ?? join(shell.env.XDG_CONFIG_HOME ?? join(shell.env.HOME ?? homedir(), '.config'), 's2')
  const wanted = settingsFor(answers)
  // As the services will read them: what they would refuse is told now, all of it together.
  const all = Object.assign({}, ...wanted.values()) as Record<string, string>
  readSettings(all, Object.keys(all) as SettingName[])
  const drafts = await Promise.all(
    [...wanted].map(([name, settings]) => draft(join(folder, name), settings, options.force === true)),
  )
  for (const { path, text, isChanged } of drafts) if (isChanged) await write(path, text, folder)
  const next = nextSteps(answers.role, folder)
  if (options.json === true) {
    const files = drafts.map(({ path, settings, isChanged }) => ({ path, settings, changed: isChanged }))
    shell.print(`${JSON.stringify({ files, next })}\n`)
    return
  }
  for (const { path, settings, isChanged } of drafts) {
    shell.print(`${path}: ${isChanged ? Object.keys(settings).join(', ') : 'is so already'}\n`)
  }
  if (drafts.length === 0) shell.print('nothing has to be set: the defaults do\n')
  shell.print(`\nnext:\n${next.map((line) => `  ${line}\n`).join('')}`)
}

interface Answers {
  readonly role: Role
  readonly bridgeUrl: string
  readonly remote: string
  readonly number: string
  readonly wake: string
}

/** What was not said by options is asked at a terminal; elsewhere what cannot be left out is demanded. */
async function complete(options: Options, shell: Shell): Promise<Answers> {
  const canAsk = shell.screen.isTerminal && options.json !== true
  const ask = async (given: string | undefined, question: string, check: Check): Promise<string> =>
    given ?? (canAsk ? await askUntil(shell, question, check) : '')
  const role = (await ask(options.role, `What is this host: ${ROLES.join(', ')}? `, isRole)) as Role | ''
  if (role === '') throw new UsageError('what is this host?', `say --role ${ROLES.join('|')}`)
  const isWorker = role !== 'orchestrator'
  const demanded = isWorker ? 'a worker needs one' : null
  const bridgeUrl =
    role === 'worker'
      ? ''
      : await ask(
          options.bridgeUrl,
          'Where do workers reach the bridge? Empty: only on this machine. ',
          as('S2_BRIDGE_URL', null),
        )
  const remote = await ask(
    options.remote,
    `Which git remote do credentials go through?${isWorker ? '' : ' Empty: none.'} `,
    as('S2_GIT_REMOTE', demanded),
  )
  const number = isWorker ? await ask(options.number, 'Which number has this worker? ', as('S2_WORKER', demanded)) : ''
  const wake = await ask(
    options.wake,
    'Which command wakes the agent here when a message comes? Empty: none. ',
    as('S2_WAKE', null),
  )
  const missing = [
    ...(isWorker && remote === '' ? ['--remote'] : []),
    ...(isWorker && number === '' ? ['--number'] : []),
  ]
  if (missing.length > 0)
    throw new UsageError(`a worker needs ${missing.join(' and ')}`, `add ${missing.join(' and ')}`)
  const stray = [
    ...(role === 'worker' && options.bridgeUrl !== undefined ? ['--bridge-url: it comes with the credential'] : []),
  ]
  if (!isWorker && options.number !== undefined) stray.push('--number: only a worker has one')
  if (stray.length > 0) throw new UsageError(`this role has no ${stray.join(', no ')}`, 'leave it away')
  return { role, bridgeUrl, remote, number, wake }
}

/** What is wrong with an answer; null when nothing is. */
type Check = (answer: string) => string | null

function isRole(answer: string): string | null {
  return ROLES.some((role) => role === answer) ? null : `it must be one of ${ROLES.join(', ')}`
}

/** As the setting is read; `demanded` says why it cannot be left out, where it cannot. */
function as(name: SettingName, demanded: string | null): Check {
  return (answer) => {
    if (answer === '') return demanded
    const { parse, example } = SETTINGS[name]
    try {
      parse(answer)
      return null
    } catch (error) {
      return `it ${(error as Error).message}; for example ${example}`
    }
  }
}

/** Asks until the answer is one: a slip of the finger costs one line, not all that was answered before. */
async function askUntil(shell: Shell, question: string, check: Check): Promise<string> {
  for (;;) {
    const answer = await shell.ask(question)
    if (answer === null)
      throw new UsageError('nothing was written: the questions were not answered', 's2 init --help names the options')
    const fault = check(answer.trim())
    if (fault === null) return answer.trim()
    shell.tell(`  ${plain(fault)}\n`)
  }
}

/** What is written into which file. */
function settingsFor({ role, bridgeUrl, remote, number, wake }: Answers): Map<string, Record<string, string>> {
  const common = {
    ...(bridgeUrl === '' ? {} : { S2_BRIDGE_URL: bridgeUrl }),
    ...(remote === '' ? {} : { S2_GIT_REMOTE: remote }),
    ...(number === '' ? {} : { S2_WORKER: number }),
  }
  const files = new Map<string, Record<string, string>>()
  if (Object.keys(common).length > 0) files.set('s2.env', common)
  if (wake !== '') files.set(`${watcherOf(role)}.env`, { S2_WAKE: wake })
  return files
}

/** The watcher that wakes the agent of this host: with both halves on it, the worker's. */
function watcherOf(role: Role): string {
  return role === 'both' ? 's2-worker-fs-watcher' : 's2-fs-watcher'
}

interface Draft {
  readonly path: string
  readonly settings: Readonly<Record<string, string>>
  readonly text: string
  readonly isChanged: boolean
}

async function draft(path: string, settings: Readonly<Record<string, string>>, isForced: boolean): Promise<Draft> {
  const before = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return ''
    throw cannot('read', path, error)
  })
  const others = Object.entries(settings).flatMap(([name, value]) => {
    const set = settingIn(before, name)
    return set === undefined || set === value ? [] : [`${name} is ${JSON.stringify(set)}`]
  })
  if (others.length > 0 && !isForced) {
    throw new S2Error('conflict', `nothing was written: in ${path} ${others.join(' and ')}`, {
      next: 'add --force to change it, or edit the file',
    })
  }
  const text = withSettings(before, settings)
  return { path, settings, text, isChanged: text !== before }
}

/** Read by the owner of the folder and the group of its services; written by the owner alone. */
async function write(path: string, text: string, folder: string): Promise<void> {
  try {
    await publish(path, text, 0o640)
    const { uid, gid } = await stat(folder)
    await chown(path, uid, gid)
  } catch (error) {
    throw cannot('written', path, error as NodeJS.ErrnoException)
  }
}

function cannot(what: 'read' | 'written', path: string, error: NodeJS.ErrnoException): ConfigError {
  const mend = error.code === 'EACCES' || error.code === 'EPERM' ? 'use sudo for the whole host' : error.message
  return new ConfigError([`${path} cannot be ${what}: ${mend}`])
}

function nextSteps(role: Role, folder: string): string[] {
  const ctl = folder.startsWith('/etc/') ? 'sudo systemctl' : 'systemctl --user'
  const orchestrator = ['s2-bridge s2-watchdog s2-keepalive']
  const worker = [`s2-cred-sync ${role === 'both' ? 's2-worker-keepalive' : 's2-keepalive'}`]
  const services = [...(role === 'worker' ? [] : orchestrator), ...(role === 'orchestrator' ? [] : worker)].join(' ')
  const enrol = 's2 conversation create --role-b <role> --number <n> --remote <git>'
  return [
    `${ctl} restart ${services}        so that they read their settings`,
    `${ctl} enable --now ${watcherOf(role)}        once a wake command is set`,
    role === 'worker' ? `on the orchestrator's host: ${enrol}` : `for each worker: ${enrol}`,
    's2 status        who lives',
    'without systemd: s2 up FLEET.json, under the supervisor that you have',
  ]
}
