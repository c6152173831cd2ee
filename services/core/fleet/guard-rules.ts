import { textHead } from './cut-text.ts'
import { type GitRule, gitRule } from './guard-git.ts'
import { installedByNpm, installedByPip } from './guard-packages.ts'

/**
 * What a guarded command may be. Pure: it judges the words of a command and touches nothing. A command that is allowed is run
 * without a shell, by exactly the words that are answered, which hold what is always demanded of the program too.
 */

/** `safe` reads, `restricted` also works with git, npm and pip, `open` runs any program in a sandbox. */
export const GUARD_MODES = ['safe', 'restricted', 'open'] as const
export type GuardMode = (typeof GUARD_MODES)[number]

export interface AllowedCommand {
  readonly allowed: true
  readonly argv: readonly [string, ...string[]]
  /** Words that name files: they must lie in the work folder, links followed. */
  readonly paths: readonly string[]
  readonly writes: boolean
  readonly network: boolean
  /** Programs that run what a folder configures (hooks, filters, scripts) run in a sandbox or not at all. */
  readonly needsSandbox: boolean
}

export interface RefusedCommand {
  readonly allowed: false
  readonly why: string
  readonly next: string
}

export type Judgement = AllowedCommand | RefusedCommand

const WORDS_MAX = 64
const WORD_LENGTH_MAX = 4_096
const COMMIT_TEXT_MAX = 2_000
const PROGRAM = /^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$/
const SHELLS = ['sh', 'bash', 'dash', 'zsh', 'ksh', 'fish', 'csh', 'tcsh', 'ash', 'busybox', 'rbash']

interface ReaderRule {
  /** An option is one whole word. */
  readonly options: RegExp
  /** Operands before the paths, such as the pattern of grep. */
  readonly leading?: RegExp
  readonly paths: 'none' | 'any' | 'some'
}

/** Programs that read files and write nothing but their output, with the options that keep it so. */
const READERS: Readonly<Record<string, ReaderRule>> = {
  cat: { options: /^-[AbEnsTv]{1,7}$/, paths: 'some' },
  date: { options: /^(?:-u|\+[%A-Za-z:._-]{1,40})$/, paths: 'none' },
  du: { options: /^-[abchks]{1,6}$/, paths: 'any' },
  grep: { options: /^-[EFHchilnorvwx]{1,12}$/, leading: /^[^-][^\n]{0,400}$/, paths: 'some' },
  head: { options: /^-(?:n\d{1,6}|c\d{1,7}|\d{1,6})$/, paths: 'some' },
  ls: { options: /^-[1AFRSaghklnrt]{1,12}$/, paths: 'any' },
  pwd: { options: /^(?!)/, paths: 'none' },
  sha256sum: { options: /^(?!)/, paths: 'some' },
  stat: { options: /^(?!)/, paths: 'some' },
  tail: { options: /^-(?:n\d{1,6}|c\d{1,7}|\d{1,6})$/, paths: 'some' },
  uname: { options: /^-[amnoprsv]{1,8}$/, paths: 'none' },
  wc: { options: /^-[Lclmw]{1,5}$/, paths: 'some' },
}

/** Judges a command by the mode that is in force. */
export function judgeCommand(mode: GuardMode, words: readonly string[]): Judgement {
  const fault = faultOfWords(words)
  if (fault !== null) return refuse(fault, 'give the program and its arguments as words of their own, without a shell')
  const [program = '', ...args] = words
  if (mode === 'open') return judgeOpen(program, args)
  if (!PROGRAM.test(program)) return refuse('the program is no plain name', 'name it without a path, such as ls')
  const reader = Object.hasOwn(READERS, program) ? READERS[program] : undefined
  if (reader !== undefined) return judgeReader(program, args, reader)
  if (program === 'git') return judgeGit(mode, args)
  if (mode === 'restricted' && program === 'npm') return judgeNpm(args)
  if (mode === 'restricted' && program === 'pip') return judgePip(args)
  const known = [...Object.keys(READERS), 'git', ...(mode === 'restricted' ? ['npm', 'pip'] : [])]
  return refuse(`${mode} mode has no ${program}`, `use one of ${known.sort().join(', ')}`)
}

function faultOfWords(words: readonly string[]): string | null {
  if (words.length === 0 || words[0] === '') return 'no command is named'
  if (words.length > WORDS_MAX) return `the command has ${words.length} words; ${WORDS_MAX} are allowed`
  if (words.some((word) => word.length > WORD_LENGTH_MAX)) return `a word is longer than ${WORD_LENGTH_MAX} characters`
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  if (words.some((word) => /[\0-\x08\x0b-\x1f\x7f]/.test(word))) return 'a word has control characters'
  if (words.some((word) => !word.isWellFormed())) return 'a word is not text'
  return null
}

function judgeOpen(program: string, args: readonly string[]): Judgement {
  const name = program.slice(program.lastIndexOf('/') + 1)
  if (SHELLS.includes(name)) return refuse('a shell is not started, in no mode', 'name the program itself')
  if (program.startsWith('-')) return refuse('the program looks like an option', 'name the program first')
  return { allowed: true, argv: [program, ...args], paths: [], writes: true, network: false, needsSandbox: true }
}

function judgeReader(program: string, args: readonly string[], rule: ReaderRule): Judgement {
  const options = args.filter((word) => word.startsWith('-') || (program === 'date' && word.startsWith('+')))
  const bad = options.find((word) => !rule.options.test(word))
  if (bad !== undefined) return refuse(`${program} may not have the option ${show(bad)}`, 'leave it out')
  const operands = args.filter((word) => !options.includes(word))
  const leading = rule.leading === undefined ? [] : operands.slice(0, 1)
  const paths = operands.slice(leading.length)
  if (rule.leading !== undefined && !rule.leading.test(leading[0] ?? ''))
    return refuse(`${program} has no pattern`, 'name one, not beginning with a dash')
  if (rule.paths === 'none' && paths.length > 0) return refuse(`${program} takes no files here`, 'leave them out')
  if (rule.paths === 'some' && paths.length === 0) return refuse(`${program} names no file`, 'name one')
  const outside = paths.find((path) => !isInnerPath(path))
  if (outside !== undefined) return refuseOutside(outside)
  const argv = [program, ...options, ...(paths.length + leading.length > 0 ? ['--'] : []), ...leading, ...paths]
  return allow(argv, { paths })
}

/** A path below the work folder by its words; whether a link leads out of it is seen where it is run. */
export function isInnerPath(path: string): boolean {
  return path !== '' && !/^[-/~]/.test(path) && !path.split('/').includes('..')
}

function judgeGit(mode: GuardMode, args: readonly string[]): Judgement {
  const [verb = '', ...rest] = args
  const rule = gitRule(verb)
  if (rule === null || (rule.writes && mode === 'safe'))
    return refuse(
      `${mode} mode has no git ${show(verb)}`,
      'use git status, log, diff, show, branch, ls-files or rev-parse',
    )
  const parted = partGitArguments(rule, rest)
  if ('allowed' in parted) return parted
  const { options, operands, paths } = parted
  const outside = [...operands, ...paths].find((each) => !isInnerPath(each))
  if (outside !== undefined) return refuseOutside(outside)
  const wrong = operands.find((each) => !/^[A-Za-z0-9_.@][A-Za-z0-9_./@{}~^:-]{0,250}$/.test(each))
  if (wrong !== undefined) return refuse(`${show(wrong)} is no revision or file for git`, 'name a plain one')
  if (operands.length + paths.length > 0 && rule.operands === 'none')
    return refuse(`git ${verb} takes no names here`, 'leave them out')
  const tail = paths.length > 0 || rule.operands === 'paths' ? ['--', ...paths] : []
  const named = rule.operands === 'paths' ? [...tail, ...operands] : [...operands, ...tail]
  return allow(['git', ...rule.always, verb, ...rule.alwaysAfter, ...options, ...named], {
    paths: rule.operands === 'paths' ? [...operands, ...paths] : paths,
    writes: rule.writes,
    needsSandbox: true,
  })
}

interface GitArguments {
  readonly options: string[]
  readonly operands: string[]
  readonly paths: string[]
}

function partGitArguments(rule: GitRule, args: readonly string[]): GitArguments | RefusedCommand {
  const found: GitArguments = { options: [], operands: [], paths: [] }
  for (let at = 0; at < args.length; at += 1) {
    const word = args[at] as string
    if (word === '--') {
      found.paths.push(...args.slice(at + 1))
      break
    }
    if (!word.startsWith('-')) {
      found.operands.push(word)
      continue
    }
    const value = rule.valued[word]
    if (value !== undefined) {
      const given = args[at + 1] ?? ''
      if (!value.test(given) || given.length > COMMIT_TEXT_MAX)
        return refuse(`${word} has a value that is not allowed`, 'give a plain one, not beginning with a dash')
      found.options.push(word, given)
      at += 1
    } else if (rule.options.test(word)) found.options.push(word)
    else return refuse(`git may not have the option ${show(word)} here`, 'leave it out')
  }
  return found
}

function judgeNpm(args: readonly string[]): Judgement {
  const [verb = '', ...rest] = args
  // A folder can name the program that npm calls as git, and that one would have the network: packages come from the registry.
  const always = ['--ignore-scripts', '--no-audit', '--no-fund', '--git=false']
  const inFolder = { writes: true, needsSandbox: true }
  if (verb === 'ls' && rest.every((word) => /^--(?:all|depth=\d)$/.test(word)))
    return allow(['npm', 'ls', ...rest], { needsSandbox: true })
  if (verb === 'ci' && rest.length === 0) return allow(['npm', 'ci', ...always], { ...inFolder, network: true })
  if (verb === 'test' && rest.length === 0) return allow(['npm', 'test'], inFolder)
  if (verb === 'run' && rest.length === 1 && /^[A-Za-z0-9][A-Za-z0-9:_-]{0,60}$/.test(rest[0] ?? ''))
    return allow(['npm', 'run', ...rest], inFolder)
  if (verb === 'install') {
    const options = rest.filter((word) => word.startsWith('-'))
    const names = rest.filter((word) => !word.startsWith('-'))
    if (
      names.length > 0 &&
      names.every(installedByNpm) &&
      options.every((word) => /^(?:-D|--save-dev|--save-exact)$/.test(word))
    )
      return allow(['npm', 'install', ...always, ...options, '--', ...names], { ...inFolder, network: true })
  }
  return refuse(
    'npm is not called in one of the ways that are allowed',
    'use npm ls, npm ci, npm test, npm run NAME or npm install NAME@VERSION, with plain names from the registry',
  )
}

function judgePip(args: readonly string[]): Judgement {
  const [verb = '', ...names] = args
  const always = ['--isolated', '--no-input', '--disable-pip-version-check']
  if (/^(?:list|freeze|check)$/.test(verb) && names.length === 0)
    return allow(['pip', ...always, verb], { needsSandbox: true })
  const areNames = names.length > 0 && names.every(installedByPip)
  if (verb === 'show' && areNames) return allow(['pip', ...always, 'show', '--', ...names], { needsSandbox: true })
  if (verb === 'install' && areNames) {
    const wheels = ['--only-binary=:all:', '--target=site-packages']
    const how = { writes: true, network: true, needsSandbox: true }
    return allow(['pip', ...always, 'install', ...wheels, '--', ...names], how)
  }
  return refuse(
    'pip is not called in one of the ways that are allowed',
    'use pip list, freeze, check, show NAME or install NAME==VERSION, with plain names from the index',
  )
}

function allow(argv: readonly string[], how: Partial<AllowedCommand>): AllowedCommand {
  const plain = { paths: [], writes: false, network: false, needsSandbox: false }
  return { ...plain, ...how, allowed: true, argv: argv as [string, ...string[]] }
}

function refuse(why: string, next: string): RefusedCommand {
  return { allowed: false, why, next }
}

function refuseOutside(path: string): RefusedCommand {
  return refuse(`${show(path)} is not below the work folder`, 'name files by their path in the work folder')
}

function show(word: string): string {
  return JSON.stringify(textHead(word, 80))
}
