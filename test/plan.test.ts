/**
 * Keeps the plan of the house: which room may import which, no circles, no dead files, and nobody who reads the
 * clock or the environment on the side. It reads sources as text, so it also sees imports that the compiler erases.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'

const PROGRAMS = ['bridge', 'cli', 'cred-sync', 'fs-watcher', 'keepalive', 'local', 'watchdog', 'worker']

/** What a room may import of ours, besides its own files. Programs may import all of core. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'core/fleet': [],
  'core/runtime': [],
  'core/spool': ['core/fleet', 'core/runtime'],
  'core/store': ['core/fleet', 'core/runtime'],
  // What programs with a person at their terminal share: the command line, `s2 work` and `s2 up`.
  'core/console': ['core/fleet', 'core/runtime', 'core/spool', 'core/store'],
  // git as a child process, with no configuration but ours.
  'core/git': ['core/fleet', 'core/runtime', 'core/spool'],
  // The keys of hosts, and what is signed and sealed with them.
  'core/identity': ['core/fleet', 'core/runtime', 'core/spool'],
  'core/issuing': [
    'core/console',
    'core/fleet',
    'core/git',
    'core/identity',
    'core/runtime',
    'core/spool',
    'core/store',
  ],
  // The clients that agents run in: their hooks, their sessions on this host, how they are woken.
  'core/agents': ['core/fleet', 'core/runtime', 'core/spool'],
  // What an agent can do as a member of the fleet, whichever door it comes through.
  'core/member': ['core/agents', 'core/fleet', 'core/git', 'core/runtime', 'core/spool', 'core/store'],
  // The Model Context Protocol: the door of agents to those verbs.
  'core/mcp': ['core/fleet', 'core/member', 'core/runtime'],
  deploy: [],
}

/** Time, chance and the environment are arguments. Here they enter, and nowhere else. */
const MAY_TOUCH: readonly { file: string; words: readonly string[]; why: string }[] = [
  {
    file: 'services/core/runtime/clock.ts',
    words: ['Date.now(', 'performance.now(', 'setTimeout(', 'node:timers/promises'],
    why: 'it is the clock that everyone else is given',
  },
  {
    file: 'services/core/runtime/run.ts',
    words: ['process.env', 'process.exit(', 'setTimeout('],
    why: 'it reads the environment once for every program, and ends one that does not drain in time',
  },
  {
    file: 'services/core/store/sqlite/file/connection.ts',
    words: ['process.exit('],
    why: 'a natural end closes databases, which must not happen to one whose files were changed by others',
  },
  ...['cli', 'local', 'worker'].map((program) => ({
    file: `services/${program}/main.ts`,
    words: ['process.env'],
    why: 'it speaks with a person at a terminal, and starts without run',
  })),
]

const TOUCHES: Readonly<Record<string, RegExp>> = {
  'process.env': /\bprocess\.env\b/,
  'process.exit(': /\bprocess\.exit\(/,
  'Date.now(': /\bDate\.now\(/,
  'new Date()': /\bnew Date(\(\s*\)|\b(?!\())/,
  'performance.now(': /\bperformance\.now\(/,
  'setTimeout(': /\bsetTimeout\(/,
  'setInterval(': /\bsetInterval\(/,
  'Math.random(': /\bMath\.random\(/,
}
const TOUCHING_MODULES = ['node:process', 'node:timers', 'node:timers/promises', 'process', 'timers', 'timers/promises']

type Tree = Readonly<Record<string, string>>
interface Import {
  /** What is written, such as `#fleet/errors.ts`. */
  readonly specifier: string
  /** The file of ours that it means; absent for a package. */
  readonly file?: string
}
interface Source {
  readonly code: string
  readonly imports: readonly Import[]
}
type House = ReadonlyMap<string, Source>
type Rule = (house: House) => string[]

const ALIASES: readonly (readonly [prefix: string, folder: string])[] = Object.entries(
  (JSON.parse(readFileSync('package.json', 'utf8')) as { imports: Record<string, string> }).imports,
).map(([alias, target]) => [alias.replace('*', ''), posix.normalize(target).replace('*', '')])

/** The source with comments and the insides of strings, templates and patterns blanked, every offset unchanged. */
function codeOf(source: string): string {
  const out = source.split('')
  const openBraces: number[] = [] // for each `${` that is open, the braces opened inside it
  const hide = (from: number, to: number): void => {
    for (let at = from; at < to; at += 1) if (out[at] !== '\n') out[at] = ' '
  }
  const afterMatch = (pattern: RegExp, from: number): number => {
    pattern.lastIndex = from
    if (!pattern.test(source)) throw new Error(`cannot read on: ${source.slice(from, from + 60)}`)
    return pattern.lastIndex
  }
  let before = '' // the code seen last, enough of it to tell a division from a pattern
  let at = 0
  const skip = (pattern: RegExp, edge: number): void => {
    const end = afterMatch(pattern, at)
    hide(at + edge, end - edge)
    at = end
  }

  if (source.startsWith('#!')) skip(/.*/y, 0)
  while (at < source.length) {
    const char = source.charAt(at)
    const pair = source.slice(at, at + 2)
    if (pair === '//') skip(/.*/y, 0)
    else if (pair === '/*') skip(/.*?\*\//sy, 0)
    else if (char === "'" || char === '"') {
      skip(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/sy, 1)
      before = char
    } else if (char === '`' || (char === '}' && openBraces.at(-1) === 0)) {
      if (char === '}') openBraces.pop()
      at += 1
      const end = afterMatch(/(?:[^`\\$]|\\.|\$(?!\{))*(?:`|\$\{)/sy, at)
      const opens = source.charAt(end - 1) === '{'
      hide(at, end - (opens ? 2 : 1))
      if (opens) openBraces.push(0)
      before = opens ? '{' : '`'
      at = end
    } else if (
      char === '/' &&
      /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|await|throw|else))$/.test(before)
    ) {
      skip(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\//y, 1)
      before = '/'
    } else {
      const depth = openBraces.length - 1
      if (depth >= 0 && char === '{') openBraces[depth] = (openBraces[depth] ?? 0) + 1
      if (depth >= 0 && char === '}') openBraces[depth] = (openBraces[depth] ?? 0) - 1
      if (/\S/.test(char)) before = (/\s/.test(source.charAt(at - 1)) ? ' ' : before.slice(-9)) + char
      at += 1
    }
  }
  return out.join('')
}

/** Static imports, re-exports, dynamic imports, and files that are named to be started (`new URL('./worker.ts', …)`). */
function importsOf(path: string, source: string, code: string): Import[] {
  const found: Import[] = []
  const starts = /(?<![.\w$])(?:from\s*|import\s*\(?\s*|new URL\(\s*)(['"`])/g
  for (const { 0: text, 1: quote = '', index } of code.matchAll(starts)) {
    const open = index + text.length
    const specifier = source.slice(open, code.indexOf(quote, open))
    if (text.startsWith('new URL') && !specifier.endsWith('.ts')) continue
    const alias = ALIASES.find(([prefix]) => specifier.startsWith(prefix))
    if (alias) found.push({ specifier, file: alias[1] + specifier.slice(alias[0].length) })
    else if (specifier.startsWith('.')) found.push({ specifier, file: posix.join(posix.dirname(path), specifier) })
    else found.push({ specifier })
  }
  return found
}

function houseOf(tree: Tree): House {
  return new Map(
    Object.entries(tree).map(([path, source]) => {
      try {
        const code = codeOf(source)
        return [path, { code, imports: importsOf(path, source, code) }]
      } catch (cause) {
        throw new Error(`${path} cannot be scanned`, { cause })
      }
    }),
  )
}

/** `services/core/fleet/task.ts` lies in core/fleet, `services/cli/main.ts` in cli, `deploy/test.ts` in deploy. */
function roomOf(path: string): string {
  const [top = '', first = '', second = ''] = path.split('/')
  if (top !== 'services') return top
  return first === 'core' ? `core/${second}` : first
}

const isService = (path: string): boolean => path.startsWith('services/')

function* edgesOf(house: House): Generator<{ path: string; specifier: string; file: string }> {
  for (const [path, { imports }] of house) {
    for (const { specifier, file } of imports) if (file !== undefined) yield { path, specifier, file }
  }
}

const importsRunDownward: Rule = (house) =>
  [...edgesOf(house)].flatMap(({ path, specifier, file }) => {
    const [from, to] = [roomOf(path), roomOf(file)]
    if (from === 'test' || from === to) return []
    const allowed = PROGRAMS.includes(from) ? to.startsWith('core/') : MAY_IMPORT[from]?.includes(to)
    return allowed ? [] : [`${path} imports ${specifier}: ${from} may not import ${to}`]
  })

const roomsAreKnown: Rule = (house) =>
  [...house.keys()]
    .filter((path) => isService(path) && !PROGRAMS.includes(roomOf(path)) && MAY_IMPORT[roomOf(path)] === undefined)
    .map((path) => `${path} lies in no room of the plan`)

const importsLeadSomewhere: Rule = (house) => [
  ...[...edgesOf(house)]
    .filter(({ file }) => !house.has(file) && file.endsWith('.ts'))
    .map(({ path, specifier }) => `${path} imports ${specifier}: there is no such file`),
  ...[...house]
    .filter(([path, { imports }]) => isService(path) && imports.some(({ specifier }) => specifier.includes('${')))
    .map(([path]) => `${path} imports by a computed name, which neither this test nor the bundler can follow`),
]

const noCircles: Rule = (house) => {
  const breaches: string[] = []
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): void => {
    const start = trail.indexOf(path)
    if (start >= 0) breaches.push(`circle: ${[...trail.slice(start), path].join(' → ')}`)
    if (start >= 0 || done.has(path)) return
    for (const { file } of house.get(path)?.imports ?? []) if (file !== undefined) visit(file, [...trail, path])
    done.add(path)
  }
  for (const path of house.keys()) visit(path, [])
  return breaches
}

const noDeadFiles: Rule = (house) => {
  const reached = new Set<string>()
  const visit = (path: string): void => {
    if (reached.has(path)) return
    reached.add(path)
    for (const { file } of house.get(path)?.imports ?? []) if (file !== undefined) visit(file)
  }
  for (const program of PROGRAMS) visit(`services/${program}/main.ts`)
  return [...house.keys()]
    .filter((path) => isService(path) && !path.endsWith('.d.ts') && !reached.has(path))
    .map((path) => `${path} is reached from no program`)
}

const programsHaveTheSameRooms: Rule = (house) =>
  PROGRAMS.flatMap((program) =>
    (program === 'cli' ? ['main.ts'] : ['main.ts', 'config.ts']).map((file) => `services/${program}/${file}`),
  )
    .filter((path) => !house.has(path))
    .map((path) => `${path} is missing`)

const timeAndChanceAreArguments: Rule = (house) =>
  [...house].flatMap(([path, { code, imports }]) => {
    if (!isService(path)) return []
    const allowed = MAY_TOUCH.find(({ file }) => file === path)?.words ?? []
    const words = Object.keys(TOUCHES).filter((word) => TOUCHES[word]?.test(code))
    const modules = imports.map(({ specifier }) => specifier).filter((each) => TOUCHING_MODULES.includes(each))
    return [...words, ...modules].filter((word) => !allowed.includes(word)).map((word) => `${path} uses ${word}`)
  })

const nativeModulesHaveOneDoor: Rule = (house) => {
  const importersOf = (name: string): string[] =>
    [...house]
      .filter(([path, { imports }]) => isService(path) && imports.some((each) => each.specifier === name))
      .map(([path]) => path)
  const inotify = importersOf('node-inotify')
  return [
    ...(inotify.length > 1 ? [`node-inotify is imported by more than one module: ${inotify.join(', ')}`] : []),
    ...importersOf('better-sqlite3')
      .filter((path) => !path.startsWith('services/core/store/sqlite/'))
      .map((path) => `${path} imports better-sqlite3: only services/core/store/sqlite may`),
  ]
}

const fleetDoesNothing: Rule = (house) =>
  [...house].flatMap(([path, { imports }]) =>
    roomOf(path) === 'core/fleet'
      ? imports
          .filter(({ specifier }) => specifier.startsWith('node:') && specifier !== 'node:crypto')
          .map(({ specifier }) => `${path} imports ${specifier}: fleet holds rules, not I/O`)
      : [],
  )

/** Names that every program or every command exports, so that all are found and started in one way. */
const SAME_IN_EACH = ['program', 'Config', 'readConfig', 'define']
const EXPORT = /(?<![\w.$])export (?:async |abstract )?(?:const|let|function\*?|class|interface|type|enum) (\w+)/g

/** A name has one meaning: whoever meets it elsewhere need not ask which one. */
const exportedNamesAreUnique: Rule = (house) => {
  const exporters = new Map<string, string[]>()
  for (const [path, { code }] of house) {
    if (!isService(path)) continue
    for (const [, name = ''] of code.matchAll(EXPORT)) exporters.set(name, [...(exporters.get(name) ?? []), path])
  }
  return [...exporters]
    .filter(([name, paths]) => new Set(paths).size > 1 && !SAME_IN_EACH.includes(name))
    .map(([name, paths]) => `${name} is exported by more than one file: ${paths.join(', ')}`)
}

const house = houseOf(
  Object.fromEntries(
    globSync(['services/**/*.ts', 'test/**/*.ts', 'deploy/**/*.ts'])
      .sort()
      .map((path) => [path, readFileSync(path, 'utf8')]),
  ),
)

test('there is a house to look at', () => {
  const files = [...house.keys()].filter(isService)
  assert.ok(files.length >= 40, `only ${files.length} files were found under services/`)
  assert.ok([...edgesOf(house)].length >= files.length, 'fewer imports than files: the scanner is blind')
})

test('every program is bundled', () => {
  const bundle = readFileSync('deploy/bundle.ts', 'utf8')
  for (const program of PROGRAMS) assert.ok(new RegExp(`'${program}'|services/${program}/`).test(bundle), program)
})

/** Each rule, and what it must catch when that is added to a small house in good order. */
const RULES: readonly { title: string; rule: Rule; breaches: readonly Tree[] }[] = [
  {
    title: 'imports run downward: program → store, spool → fleet, runtime',
    rule: importsRunDownward,
    breaches: [
      { 'services/core/fleet/bad.ts': "import { clock } from '#runtime/clock.ts'" },
      { 'services/core/fleet/bad.ts': "import type { Clock } from '../runtime/clock.ts'" },
      { 'services/core/runtime/bad.ts': "export { S2Error } from '#fleet/errors.ts'" },
      { 'services/core/runtime/bad.ts': "export * from\n  '../fleet/errors.ts'" },
      { 'services/core/store/bad.ts': "import '#spool/atomic.ts'" },
      { 'services/core/spool/bad.ts': "const s = await import('#store/store.ts')" },
      { 'services/core/store/bad.ts': "import { main } from '../../watchdog/main.ts'" },
      { 'services/cli/bad.ts': "type Look = import('../watchdog/watchdog.ts').Look" },
      { 'services/cli/bad.ts': "new Worker(new URL('../bridge/main.ts', import.meta.url))" },
      { 'services/watchdog/bad.ts': "import { run } from '../keepalive/main.ts'" },
      { 'services/watchdog/bad.ts': "import { run } from '../../test/plan.test.ts'" },
      { 'deploy/bad.ts': "import { readConfig } from '#runtime/read-settings.ts'" },
    ],
  },
  {
    title: 'every file lies in a room of the plan',
    rule: roomsAreKnown,
    breaches: [{ 'services/core/utils/strings.ts': '' }, { 'services/watchcat/main.ts': '' }],
  },
  {
    title: 'every import leads to a file',
    rule: importsLeadSomewhere,
    breaches: [
      { 'services/cli/bad.ts': "import './gone.ts'" },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source to be scanned
      { 'services/cli/bad.ts': 'await import(`./commands/${name}.ts`)' },
    ],
  },
  {
    title: 'no imports go in a circle',
    rule: noCircles,
    breaches: [
      { 'services/core/fleet/a.ts': "import './b.ts'", 'services/core/fleet/b.ts': "import type { A } from './a.ts'" },
      { 'services/core/fleet/a.ts': "import { a } from './a.ts'" },
    ],
  },
  {
    title: 'no file is dead',
    rule: noDeadFiles,
    breaches: [
      { 'services/core/fleet/forgotten.ts': 'export const x = 1' },
      { 'services/core/fleet/forgotten.ts': '', 'services/cli/main.ts': "// import '#fleet/forgotten.ts'" },
    ],
  },
  {
    title: 'every program has the same rooms',
    rule: programsHaveTheSameRooms,
    breaches: [],
  },
  {
    title: 'time, chance and the environment are arguments',
    rule: timeAndChanceAreArguments,
    breaches: [
      ...[
        'process.env.HOME',
        'Date.now()',
        'new Date()',
        'new Date',
        'setTimeout(f, 1)',
        'setInterval(f, 1)',
        'process.exit(1)',
      ],
      'Math.random()',
      'performance.now()',
      "import { setTimeout as sleep } from 'node:timers/promises'",
      "import { env } from 'node:process'",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is source to be scanned
      '`now ${`it is ${{ at: Date.now() }.at}`}`',
      '/[`/]/.test(x) && Date.now()',
      'a / b; `/`; Date.now()',
    ].map((code) => ({ 'services/watchdog/bad.ts': code })),
  },
  {
    title: 'native modules have one door',
    rule: nativeModulesHaveOneDoor,
    breaches: [
      { 'services/fs-watcher/bad.ts': "import native from 'node-inotify'" },
      { 'services/fs-watcher/bad.ts': "import Database from 'better-sqlite3'" },
      { 'services/core/store/bad.ts': "import type { Database } from 'better-sqlite3'" },
    ],
  },
  {
    title: 'fleet holds rules, not I/O',
    rule: fleetDoesNothing,
    breaches: [{ 'services/core/fleet/bad.ts': "import { readFileSync } from 'node:fs'" }],
  },
  {
    title: 'an exported name has one meaning',
    rule: exportedNamesAreUnique,
    breaches: [
      { 'services/bridge/bad.ts': 'export interface Agent {}', 'services/cli/bad.ts': 'export class Agent {}' },
      { 'services/core/fleet/bad.ts': 'export type clock = 1' },
      { 'services/cli/bad.ts': 'export async function text() {}' },
    ],
  },
]

const inGoodOrder: Tree = {
  ...Object.fromEntries(
    PROGRAMS.flatMap((name) => [
      [
        `services/${name}/main.ts`,
        "#!/usr/bin/env node\nimport { readConfig } from './config.ts'\nimport '#store/store.ts'",
      ],
      [`services/${name}/config.ts`, "// Date.now()\nexport const readConfig = (env) => 'process.env' + `Date.now()`"],
    ]),
  ),
  'services/core/store/store.ts':
    "import { clock } from '#runtime/clock.ts'\nimport { S2Error } from '#fleet/errors.ts'\nimport './sqlite/open.ts'",
  'services/core/store/sqlite/open.ts': "import Database from 'better-sqlite3'\nimport('#runtime/inotify.ts')",
  'services/core/runtime/clock.ts': 'export const clock = { wall: () => Date.now() }',
  'services/core/runtime/inotify.ts': "import native from 'node-inotify'",
  'services/core/fleet/errors.ts':
    "/* import '#runtime/clock.ts' */ export const text = /'/.test('a') ? 'x' : \"from 'y'\"",
  'test/any.test.ts': "import '../services/watchdog/main.ts'\nDate.now()",
}

for (const { title, rule, breaches } of RULES) {
  test(title, () => {
    const found = rule(house)
    assert.ok(found.length === 0, ['', ...found].join('\n'))
  })

  test(`a breach is seen: ${title}`, () => {
    assert.deepEqual(rule(houseOf(inGoodOrder)), [], 'it finds fault with a house in good order')
    for (const breach of breaches) {
      const found = rule(houseOf({ ...inGoodOrder, ...breach }))
      assert.notDeepEqual(found, [], `it does not see ${JSON.stringify(breach)}`)
    }
  })
}

test('a program without its rooms is seen', () => {
  for (const gone of ['services/cli/main.ts', 'services/bridge/main.ts', 'services/bridge/config.ts']) {
    const { [gone]: _, ...rest } = inGoodOrder
    assert.deepEqual(programsHaveTheSameRooms(houseOf(rest)), [`${gone} is missing`])
  }
})
