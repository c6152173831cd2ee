/** Keeps the documents true: links, paths, commands, targets and settings that they name are there. */
import assert from 'node:assert/strict'
import { existsSync, globSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { test } from 'node:test'
import { PROGRAMS, SETTINGS, type Setting } from '../services/core/runtime/settings.ts'
import { run } from './cli/run-command.ts'
import { generatedParts, withPart } from './docs/generated.ts'
import { type Page, type Pages, pageOf, readPages } from './docs/pages.ts'

/** Answers a sentence for each place in the documents that does not hold. */
type Rule = (pages: Pages) => string[] | Promise<string[]>

const README_LINES_MAX = 150
const DECISION_LINES_MAX = 40

/** Says of each page what is wrong in it. */
function perPage(faultsOf: (page: Page, path: string) => readonly string[]): Rule {
  return (pages) => [...pages].flatMap(([path, page]) => faultsOf(page, path).map((fault) => `${path}: ${fault}`))
}

const linksLeadSomewhere: Rule = (pages) =>
  perPage(({ links }, path) =>
    links.flatMap((link) => {
      const [file = '', anchor] = link.split('#')
      const target = file === '' ? path : posix.join(posix.dirname(path), file)
      if (!pages.has(target) && !existsSync(target)) return [`there is nothing at ${link}`]
      const isThere = anchor === undefined || pages.get(target)?.anchors.has(anchor) === true
      return isThere ? [] : [`${link}: ${target} has no heading of that name`]
    }),
  )(pages)

const OURS = /^(?:services|test|deploy|docs|docker|systemd|examples)\/[\w./-]*$/

const pathsAreThere = perPage(({ spans }) =>
  spans.filter((span) => OURS.test(span) && !existsSync(span)).map((span) => `there is no ${span}`),
)

/** All code of a page that a reader may type. */
function typedIn({ spans, codeLines }: Page): string[] {
  return [...spans, ...codeLines].map((line) => line.replace(/(?:^|\s)#.*$/, ''))
}

const TARGETS = new Set(
  [...readFileSync('Makefile', 'utf8').matchAll(/^([a-z][a-z-]*):(?!=)/gm)].map(([, name]) => name),
)

const targetsAreThere = perPage((page) =>
  typedIn(page)
    .flatMap((line) => [...line.matchAll(/\bmake ([a-z][a-z-]*)/g)].map(([, name = '']) => name))
    .filter((name) => !TARGETS.has(name))
    .map((name) => `there is no target: make ${name}`),
)

const settingsAreThere = perPage((page) =>
  typedIn(page)
    .flatMap((line) => line.match(/\bS2_[A-Z_]+\b/g) ?? [])
    .filter((name) => !Object.hasOwn(SETTINGS, name) && !name.startsWith('S2_TASK_'))
    .map((name) => `there is no setting ${name}`),
)

/** What the help of a command says that there is. */
interface Help {
  readonly subcommands: ReadonlySet<string>
  readonly options: ReadonlySet<string>
}

const helps = new Map<string, Promise<Help>>()

function helpOf(...words: string[]): Promise<Help> {
  const key = words.join(' ')
  const known = helps.get(key)
  if (known !== undefined) return known
  const fresh = run([...words, '--help']).then(({ out }) => {
    const commands = /^Commands:\n((?: +.*\n)*)/m.exec(out)?.[1] ?? ''
    const options = /^Options:\n((?: +.*\n)*)/m.exec(out)?.[1] ?? ''
    return {
      subcommands: new Set([...commands.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name)),
      options: new Set(options.match(/(?<=^| |,)--?[a-z][a-z-]*/gm)),
    }
  })
  helps.set(key, fresh)
  return fresh
}

/** The words after `s2` in a line, up to what belongs to the shell; null where it calls no command. */
function commandIn(line: string): string[] | null {
  if (/\bdocker (?:run|build)\b/.test(line)) return null
  const called = /(?:^|\s)(?:dist\/s2\.js|s2) (-{0,2}[a-z].*)$/.exec(line)?.[1]
  if (called === undefined) return null
  return (called.replaceAll(/'[^']*'|"[^"]*"/g, 'TEXT').split(/ && |[|;<>…]/)[0] ?? '').trim().split(/\s+/)
}

async function faultOfCommand(words: readonly string[]): Promise<string[]> {
  const path: string[] = []
  let help = await helpOf()
  for (const word of words) {
    if (word.startsWith('-') || help.subcommands.size === 0) break
    if (!help.subcommands.has(word)) {
      const isArgument = path.length > 0 && /[^a-z]/.test(word)
      return isArgument ? [] : [`there is no command: s2 ${[...path, word].join(' ')}`]
    }
    path.push(word)
    help = await helpOf(...path)
  }
  return words
    .flatMap((word) => /^--?[a-z][a-z-]*/.exec(word)?.[0] ?? [])
    .filter((option) => !help.options.has(option) && option !== '--help')
    .map((option) => `s2 ${path.join(' ')} has no option ${option}`)
}

const commandsAreThere: Rule = async (pages) => {
  const faults: string[] = []
  for (const [path, page] of pages) {
    for (const line of typedIn(page)) {
      const words = commandIn(line)
      if (words !== null) for (const fault of await faultOfCommand(words)) faults.push(`${path}: ${fault}`)
    }
  }
  return faults
}

const pagesAreShort = perPage(({ lineCount }, path) => {
  const most =
    path === 'README.md' ? README_LINES_MAX : /^docs\/decisions\/\d/.test(path) ? DECISION_LINES_MAX : Infinity
  return lineCount > most ? [`${lineCount} lines are more than ${most}`] : []
})

const everyPageIsLinked: Rule = (pages) => {
  const linked = new Set(
    [...pages].flatMap(([path, { links }]) =>
      links.map((link) => posix.join(posix.dirname(path), link.split('#')[0] ?? '')),
    ),
  )
  return [...pages.keys()]
    .filter((path) => path !== 'README.md' && !linked.has(path))
    .map((path) => `${path}: no page links to it`)
}

/** Each rule, and pages in which it must find a fault. */
const RULES: readonly { title: string; rule: Rule; breaches: readonly Readonly<Record<string, string>>[] }[] = [
  {
    title: 'links lead to a page and to a heading',
    rule: linksLeadSomewhere,
    breaches: [
      { 'docs/bad.md': 'see [the page](gone.md)' },
      { 'docs/bad.md': 'see [the heading](install.md#gone)' },
      { 'docs/bad.md': '# Here\n\nsee [below](#there)' },
    ],
  },
  {
    title: 'paths between backticks are there',
    rule: pathsAreThere,
    breaches: [{ 'docs/bad.md': 'it is in `services/core/fleet/gone.ts`' }, { 'docs/bad.md': 'in `services/gone/`' }],
  },
  {
    title: 'make has the targets',
    rule: targetsAreThere,
    breaches: [{ 'docs/bad.md': 'run `make gone`' }, { 'docs/bad.md': 'so:\n\n    sudo make gone ROLE=worker\n' }],
  },
  { title: 'settings are there', rule: settingsAreThere, breaches: [{ 'docs/bad.md': 'set `S2_GONE`' }] },
  {
    title: 's2 has the commands and options',
    rule: commandsAreThere,
    breaches: [
      { 'docs/bad.md': 'run `s2 gone`' },
      { 'docs/bad.md': 'run `s2 task gone`' },
      { 'docs/bad.md': 'so:\n\n    sudo s2 task add --gone x   # why\n' },
      { 'docs/bad.md': '```\ndocker compose exec bridge s2 status --gone\n```' },
    ],
  },
  {
    title: 'the README and the decisions are short',
    rule: pagesAreShort,
    breaches: [{ 'README.md': 'line\n'.repeat(151) }, { 'docs/decisions/9999-bad.md': 'line\n'.repeat(41) }],
  },
  { title: 'every page is linked from another', rule: everyPageIsLinked, breaches: [{ 'docs/bad.md': '' }] },
]

const pages = readPages()

for (const { title, rule, breaches } of RULES) {
  test(title, async () => {
    const found = await rule(pages)
    assert.ok(found.length === 0, ['', ...found].join('\n'))
  })

  test(`a breach is seen: ${title}`, async () => {
    for (const breach of breaches) {
      const broken = new Map([...pages, ...Object.entries(breach).map(([path, text]) => [path, pageOf(text)] as const)])
      const found = (await rule(broken)).filter((fault) => fault.startsWith(`${Object.keys(breach)[0]}: `))
      assert.notDeepEqual(found, [], `it does not see ${JSON.stringify(breach).slice(0, 100)}`)
    }
  })
}

test('what is generated is as the code has it', async () => {
  for (const part of await generatedParts()) {
    const text = readFileSync(part.file, 'utf8')
    const advice = `the part "${part.name}" of ${part.file} is not as the code has it: run make docs`
    assert.equal(withPart(text, part), text, advice)
    const changed = withPart(text, { ...part, text: `${part.text}another line\n` })
    assert.notEqual(changed, text, `a change in the part "${part.name}" is not seen`)
  }
})

test('enough is looked at', () => {
  const typed = [...pages.values()].flatMap(typedIn)
  assert.ok(pages.size >= 25, `only ${pages.size} documents were found`)
  assert.ok(typed.filter((line) => commandIn(line) !== null).length >= 60, 'hardly a command is seen')
  assert.ok(typed.filter((line) => OURS.test(line)).length >= 60, 'hardly a path is seen')
})

/** Those whose settings are named in their own folder alone; `s2` and `local` also hand settings to others. */
const SERVICES = PROGRAMS.filter((program) => program !== 's2' && program !== 'local')

test('the table of settings names the services that read each', () => {
  for (const service of SERVICES) {
    const code = globSync(`services/${service}/**/*.ts`).map((path) => readFileSync(path, 'utf8'))
    for (const [name, { programs }] of Object.entries(SETTINGS as Readonly<Record<string, Setting>>)) {
      const reads = code.some((text) => text.includes(`'${name}'`))
      const wrong = reads ? `reads ${name}: add it to its programs` : `does not read ${name}, as its programs say`
      assert.equal(reads, programs.includes(service), `${service} ${wrong} in services/core/runtime/settings.ts`)
    }
  }
})
