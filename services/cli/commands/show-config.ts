import type { Command } from 'commander'
import type { CommandContext } from '#console/context.ts'
import { EXIT, Exit } from '#console/failure.ts'
import { commandEnv } from '#console/state-folder.ts'
import { table } from '#console/table.ts'
import { redact } from '#fleet/redact.ts'
import { programCommand } from '#runtime/argv-of-program.ts'
import { ConfigError, readSettings, withSettingsFile } from '#runtime/read-settings.ts'
import { hasSucceeded, howItEnded, runCommand } from '#runtime/run-command.ts'
import { PROGRAMS, type ProgramName, SETTINGS, type Setting, type SettingName } from '#runtime/settings.ts'
import { programNamed } from '../program-named.ts'

const EXAMPLES = `
Examples:
  s2 config                      every setting, its value here and its source
  s2 config watchdog             the settings that one program reads, and what it refuses of them
  s2 config bridge --file /etc/s2/s2.env /etc/s2/s2-bridge.env
  s2 config --markdown           the table of docs/settings.md`

interface Options {
  readonly file?: string[]
  readonly markdown?: true
  readonly json?: true
}

export function define(command: Command, context: CommandContext): void {
  command
    .argument('[program]', `one of ${PROGRAMS.join(', ')}`)
    .option('--file <path...>', 'read settings files (NAME=value lines) under the environment, later ones over earlier')
    .option('--markdown', 'print all settings as a table in Markdown')
    .option('--json', 'print JSON')
    .addHelpText('after', EXAMPLES)
    .action(async (program: string | undefined, options: Options) => {
      const named = program === undefined ? null : programNamed(program, PROGRAMS)
      const names = settingsOf(named)
      if (options.markdown === true) return context.print(markdown(names))
      const files = options.file ?? []
      const rows = effective(names, context, files)
      if (options.json === true) context.print(`${JSON.stringify(rows, null, 2)}\n`)
      else context.print(`${table(COLUMNS, rows.map(cellsOf), context.screen.columns).join('\n')}\n`)
      check(names, context, files)
      if (named !== null && SERVICES.includes(named)) await askProgram(named, context, files)
    })
}

/** The value of a setting in force, and its source. */
interface Effective {
  readonly name: SettingName
  readonly value: string | null
  readonly from: string
  readonly fault: string | null
  readonly about: string
}

const COLUMNS = [{ title: 'SETTING' }, { title: 'VALUE', stretches: true }, { title: 'FROM', stretches: true }]

function cellsOf({ name, value, from, fault }: Effective): string[] {
  return [name, fault === null ? (value ?? '(left out)') : `${value ?? ''}  ✗ ${fault}`, from]
}

function settingsOf(program: ProgramName | null): SettingName[] {
  const all = Object.keys(SETTINGS) as SettingName[]
  if (program === null) return all
  return all.filter((name) => (SETTINGS[name].programs as readonly ProgramName[]).includes(program))
}

function effective(names: readonly SettingName[], context: CommandContext, files: readonly string[]): Effective[] {
  const env = commandEnv(context)
  const all = readFiles(env, files)
  return names.map((name) => {
    const setting: Setting = SETTINGS[name]
    const text = all[name] ?? setting.fallback
    const from =
      context.env[name] !== undefined
        ? 'environment'
        : env[name] !== undefined
          ? 'the fleet of this folder'
          : all[name] !== undefined
            ? (files.findLast((file) => name in readFile({}, file)) ?? '')
            : 'default'
    const fault = text === undefined ? null : faultOf(setting, text)
    const value = text === undefined ? null : setting.secret === true ? '…' : redact(text)
    return { name, value, from, fault, about: setting.about }
  })
}

/** The environment wins over the last file, and each file over the one before it, as with a service manager. */
function readFiles(env: CommandContext['env'], files: readonly string[]): CommandContext['env'] {
  return files.toReversed().reduce(readFile, env)
}

function readFile(env: CommandContext['env'], file: string): CommandContext['env'] {
  try {
    return withSettingsFile(env, file)
  } catch (cause) {
    if (cause instanceof ConfigError) throw cause
    throw new ConfigError([`${file} cannot be read: ${(cause as Error).message}`])
  }
}

function faultOf(setting: Setting, text: string): string | null {
  try {
    setting.parse(text)
    return null
  } catch (error) {
    return (error as Error).message
  }
}

/** Reports wrong and unknown settings, and fails, as every program does. */
function check(names: readonly SettingName[], context: CommandContext, files: readonly string[]): void {
  try {
    readSettings(readFiles(commandEnv(context), files), names)
  } catch (error) {
    context.tell(`s2: ${(error as Error).message}\n`)
    throw new Exit(EXIT.config)
  }
}

/** The programs that a service manager runs: they have settings and no arguments. */
const SERVICES: readonly ProgramName[] = SETTINGS.S2_HEALTH.programs
/** Its start takes a second on a slow machine. */
const CHECK_TIMEOUT_MS = 30_000

/** Has a program look at its settings together, as it does when it starts: which ones go with each other, it alone knows. */
async function askProgram(program: ProgramName, context: CommandContext, files: readonly string[]): Promise<void> {
  const argv = programCommand(program, '--check')
  const env = readFiles(commandEnv(context), files)
  const bounds = { timeoutMs: CHECK_TIMEOUT_MS, outputMax: 100_000, beyond: 'keep_tail' } as const
  const ending = await runCommand({ argv, env, ...bounds }, context.clock)
  if (hasSucceeded(ending)) return
  if (ending.code === EXIT.config) {
    context.tell(ending.stderr)
    throw new Exit(EXIT.config)
  }
  // That it does not run is no fault of its settings: whoever starts it learns that.
  context.tell(`s2: s2-${program} did not check what its settings mean together: ${howItEnded(ending)}\n`)
}

function markdown(names: readonly SettingName[]): string {
  const rows = names.map((name) => {
    const setting: Setting = SETTINGS[name]
    const fallback = setting.fallbackSaid ?? (setting.fallback === undefined ? '' : `\`${setting.fallback}\``)
    const cells = [`\`${name}\``, setting.about, fallback, `\`${setting.example}\``, setting.programs.join(', ')]
    return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  })
  return `${['| setting | what it says | default | example | read by |', '|---|---|---|---|---|', ...rows].join('\n')}\n`
}
