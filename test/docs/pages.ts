/** The documents as a reader finds them: their links, their headings, and the code that they show. */
import { globSync, readFileSync } from 'node:fs'

/** Each document by its path from the root of the repository. */
export type Pages = ReadonlyMap<string, Page>

export interface Page {
  /** Relative links, as they are written: `../README.md#limits`. */
  readonly links: readonly string[]
  /** The anchors of its headings, as GitHub makes them. */
  readonly anchors: ReadonlySet<string>
  /** What stands between backticks in its sentences. */
  readonly spans: readonly string[]
  /** The lines of its code blocks. */
  readonly codeLines: readonly string[]
  readonly lineCount: number
}

const ELSEWHERE = ['node_modules', '.toolchain', '.git', 'dist', 'coverage', '.s2']

export function readPages(): Pages {
  const paths = globSync('**/*.md', { exclude: (path) => ELSEWHERE.some((name) => path.split('/').includes(name)) })
  return new Map(paths.sort().map((path) => [path, pageOf(readFileSync(path, 'utf8'))]))
}

export function pageOf(text: string): Page {
  const { prose, codeLines } = separate(text)
  const sentences = prose.replaceAll(/`[^`\n]+`/g, '')
  const headings = prose.split('\n').flatMap((line) => /^#{1,6} (.+)$/.exec(line)?.[1] ?? [])
  return {
    links: [...sentences.matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, link = '']) =>
      /^[a-z]+:/.test(link) ? [] : [link],
    ),
    anchors: new Set(headings.map(anchorOf)),
    spans: [...prose.matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span),
    codeLines,
    lineCount: text.split('\n').length - 1,
  }
}

/** What is written for reading, and the lines of code blocks: fenced, or indented by four after an empty line. */
function separate(text: string): { readonly prose: string; readonly codeLines: readonly string[] } {
  const prose: string[] = []
  const codeLines: string[] = []
  let isFenced = false
  let isIndented = false
  let before = ''
  for (const line of text.split('\n')) {
    const isFence = line.startsWith('```')
    if (isFence) isFenced = !isFenced
    isIndented = !isFenced && line.startsWith('    ') && (isIndented || before.trim() === '')
    if (isFenced || isFence || isIndented) codeLines.push(line.trim())
    else prose.push(line)
    before = line
  }
  return { prose: prose.join('\n'), codeLines }
}

/** As GitHub does it: lower case, no punctuation, blanks as dashes. */
function anchorOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')
}
