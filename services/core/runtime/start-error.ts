import type { ChildProcess } from 'node:child_process'
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs'
import { resolve } from 'node:path'

/** What keeps a program from being started: the folder, the program itself, the right to execute it, or the system. */
export type StartFault = 'no_folder' | 'no_program' | 'not_executable' | 'system'

/** A program could not be started. That is a fault of the place where it was to run, and not of what it was to do. */
export class StartError extends Error {
  override readonly name = 'StartError'
  readonly code: StartFault

  constructor(code: StartFault, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

/** A command as it was to be started. */
export interface StartPlace {
  readonly argv: readonly [string, ...string[]]
  /** Default: the folder of this process. */
  readonly cwd?: string
  readonly env: Readonly<Record<string, string | undefined>>
}

/** What is wrong with a place now, as far as can be seen without a start; null: nothing. */
export function placeFault({ argv: [program], cwd = '.', env }: StartPlace): StartError | null {
  const fault = folderFault(cwd) ?? programFault(program, cwd, env.PATH)
  return fault === null ? null : new StartError(...fault)
}

/**
 * Names what is wrong with a place in which a command could not be started. The system's own error names the program also where
 * the folder or an interpreter is missing (`spawn /bin/sh ENOENT`), so the place is looked at.
 */
export function startErrorOf(place: StartPlace, cause?: unknown): StartError {
  const fault = placeFault(place)
  if (fault !== null) return new StartError(fault.code, fault.message, cause)
  return new StartError('system', `the program ${place.argv[0]} cannot be started${whyOf(cause)}`, cause)
}

/** A process that runs. Throws a `StartError` where it could not be started. */
export function startedProcess<C extends ChildProcess>(
  place: StartPlace,
  start: () => C,
): C & { readonly pid: number } {
  let child: C
  try {
    child = start()
  } catch (error) {
    throw startErrorOf(place, error)
  }
  if (isStarted(child)) return child
  child.on('error', () => undefined) // it comes later, and names the wrong thing
  throw startErrorOf(place)
}

function isStarted<C extends ChildProcess>(child: C): child is C & { readonly pid: number } {
  return child.pid !== undefined
}

type Fault = readonly [code: StartFault, message: string]

function folderFault(folder: string): Fault | null {
  const what = folder === '.' ? 'the folder that this program was started in' : `the folder ${folder}`
  const kind = kindOf(folder)
  if (kind === 'missing') return ['no_folder', `${what} does not exist`]
  if (kind === 'other' || kind === 'file') return ['no_folder', `${folder} is no folder`]
  return kind === 'hidden' || !mayExecute(folder) ? ['no_folder', `${what} may not be entered`] : null
}

/** As execvp(3) looks for it. */
function programFault(program: string, folder: string, path = '/bin:/usr/bin'): Fault | null {
  const isPath = program.includes('/')
  const places = isPath ? [program] : path.split(':').map((each) => `${each === '' ? '.' : each}/${program}`)
  let unusable: string | null = null
  for (const place of places) {
    const file = resolve(folder, place)
    const kind = kindOf(file)
    if (kind === 'missing') continue
    if (mayRun(file)) return interpreterFault(isPath ? program : file, file, path)
    const shown = isPath ? program : file
    unusable ??= kind === 'folder' ? `${shown} is a folder, and no program` : `${shown} ${NOT_EXECUTABLE}`
  }
  if (unusable !== null) return ['not_executable', unusable]
  return [
    'no_program',
    `the program ${program} is not installed (${isPath ? 'there is no such file' : 'not found in PATH'})`,
  ]
}

/** The carriage return belongs to the name, unless an argument that allows for it stands before. */
const WINDOWS_FIRST_LINE = /^#![ \t]*(?:\S+|\S+\/env[ \t]+\w[\w.+-]*)\r\n/
const NOT_EXECUTABLE = 'may not be executed: chmod +x allows it'

/** A script is run by the program that its first line names, execve(2); `env` looks for that in PATH. */
function interpreterFault(shown: string, file: string, path: string): Fault | null {
  const beginning = beginningOf(file)
  const [, interpreter, word] = /^#![ \t]*(\S+)(?:[ \t]+(?:-S[ \t]*)?([\w.+-]+)(?=\s))?/.exec(beginning) ?? []
  if (!interpreter?.startsWith('/')) return null
  if (kindOf(interpreter) === 'missing') return ['no_program', runsIt(interpreter, shown, 'there is no such file')]
  if (!mayRun(interpreter))
    return ['not_executable', `the program ${interpreter}, which is to run ${shown}, may not be executed, or is none`]
  if (WINDOWS_FIRST_LINE.test(beginning))
    return ['not_executable', `${shown} has Windows line ends: sed -i 's/\\r$//' takes them out`]
  if (!interpreter.endsWith('/env') || word === undefined || word.startsWith('-')) return null
  if (path.split(':').some((each) => kindOf(`${each}/${word}`) === 'file')) return null
  return ['no_program', runsIt(word, shown, 'not found in PATH')]
}

function mayRun(path: string): boolean {
  return kindOf(path) === 'file' && mayExecute(path)
}

function runsIt(program: string, shown: string, why: string): string {
  return `the program ${program}, which runs ${shown}, is not installed (${why})`
}

function kindOf(path: string): 'missing' | 'hidden' | 'folder' | 'file' | 'other' {
  try {
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) return 'missing'
    return stat.isDirectory() ? 'folder' : stat.isFile() ? 'file' : 'other'
  } catch {
    return 'hidden'
  }
}

function mayExecute(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Bytes of a first line that the kernel reads, execve(2). */
const FIRST_LINE_MAX = 256

function beginningOf(file: string): string {
  try {
    const descriptor = openSync(file, 'r')
    try {
      const bytes = Buffer.alloc(FIRST_LINE_MAX)
      return bytes.toString('latin1', 0, readSync(descriptor, bytes))
    } finally {
      closeSync(descriptor)
    }
  } catch {
    return '' // what may be executed need not be readable
  }
}

function whyOf(cause: unknown): string {
  const { code } = (cause ?? {}) as NodeJS.ErrnoException
  return code === undefined ? '' : `: ${MEANINGS[code] ?? code}`
}

const MEANINGS: Readonly<Record<string, string>> = {
  EAGAIN: 'the system allows no further process (EAGAIN)',
  ENOMEM: 'the machine has no memory left (ENOMEM)',
  EMFILE: 'too many files are open (EMFILE)',
  ENFILE: 'too many files are open (ENFILE)',
  E2BIG: 'its arguments and environment are too long (E2BIG)',
  ENOENT: 'what runs it is missing, as for a program of another kind of Linux (ENOENT)',
  EACCES: 'it, or what runs it, may not be executed (EACCES)',
  ELOOP: 'what runs it is a script too, and so on (ELOOP)',
  ENOEXEC: 'it is no program of this machine (ENOEXEC)',
}
