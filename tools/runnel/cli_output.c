/* cli_output.c: tables, values, JSON and readable text from what the API answered. */
#include "tools/runnel/cli_output.h"
#include "core/base/text.h"

#include <ctype.h>
#include <stdio.h>

#define COLUMNS_MAX 32
#define CELL_GAP 2

struct column {
    const char *header, *path;
    bool basename;
};
enum format { FORMAT_DEFAULT, FORMAT_JSON, FORMAT_YAML, FORMAT_TABLE, FORMAT_VALUE, FORMAT_NONE };
static const struct {
    const char *name;
    enum format format;
} formats[] = {{"json", FORMAT_JSON}, {"yaml", FORMAT_YAML}, {"table", FORMAT_TABLE}, {"value", FORMAT_VALUE}, {"none", FORMAT_NONE}};

/* What gcloud's Knative-style paths are called here, so that scripts keep working. */
static const struct {
    const char *theirs, *ours;
    bool basename;
} aliases[] = {
    {"status.url", "uri", false},
    {"status.address.url", "uri", false},
    {"metadata.name", "name", true},
    {"status.latestReadyRevisionName", "latestReadyRevision", true},
    {"status.latestCreatedRevisionName", "latestCreatedRevision", true},
};

const char *cli_basename(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* ---- fields ---- */

static void parse_field(struct cli *c, struct str text, struct column *col)
{
    while (text.n && isspace((unsigned char)*text.p)) {
        text.p++;
        text.n--;
    }
    while (text.n && isspace((unsigned char)text.p[text.n - 1]))
        text.n--;
    char *path = cli_copy(c, text), *label = strstr(path, ":label="), *fn = strstr(path, ".basename()");
    *col = (struct column){.path = path};
    if (label) {
        *label = 0;
        col->header = label + strlen(":label=");
    }
    if (fn) {
        *fn = 0;
        col->basename = true;
    }
    if (!col->header) { /* the last word of the path, as gcloud heads it */
        const char *dot = strrchr(path, '.');
        char *header = cli_printf(c, "%s", dot ? dot + 1 : path);
        for (char *p = header; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        col->header = header;
    }
}

static size_t parse_fields(struct cli *c, struct str text, struct column *cols)
{
    size_t n = 0;
    while (text.n && n < COLUMNS_MAX) {
        const char *comma = memchr(text.p, ',', text.n);
        const size_t len = comma ? (size_t)(comma - text.p) : text.n;
        if (len)
            parse_field(c, (struct str){text.p, len}, &cols[n++]);
        text.p += len + (comma ? 1 : 0);
        text.n -= len + (comma ? 1 : 0);
    }
    return n;
}

static const char *flat_text(struct cli *c, const struct jv *v)
{
    if (!jv_is_array(v) || jv_is_object(jv_first(v)))
        return jv_show(v);
    const char *text = "";
    for (const struct jv *i = jv_first(v); i; i = jv_next(i))
        text = cli_printf(c, "%s%s%s", text, *text ? ";" : "", jv_show(i));
    return text;
}

static const char *cell(struct cli *c, const struct jv *row, const struct column *col)
{
    const struct jv *v = jv_is_object(row) ? jv_at(row, col->path) : row;
    bool basename = col->basename;
    for (size_t i = 0; !v && i < ARRAY_LEN(aliases); i++)
        if (strcmp(aliases[i].theirs, col->path) == 0) {
            v = jv_at(row, aliases[i].ours);
            basename = aliases[i].basename;
        }
    const char *text = flat_text(c, v);
    return basename ? cli_basename(text) : text;
}

/* ---- the formats ---- */

static enum format parse_format(const char *text, struct str *fields)
{
    *fields = (struct str){"", 0};
    if (!text)
        return FORMAT_DEFAULT;
    const size_t n = strcspn(text, "(["); /* box and other attributes of gcloud's in [] are accepted and ignored */
    for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
        if (strlen(formats[i].name) != n || strncmp(formats[i].name, text, n))
            continue;
        const char *open = strchr(text, '('), *close = open ? strrchr(open, ')') : NULL;
        if (open && close)
            *fields = (struct str){open + 1, (size_t)(close - open) - 1};
        return formats[i].format;
    }
    return FORMAT_DEFAULT;
}

int cli_format_check(struct cli *c, const char *text, struct err *e)
{
    struct str fields;
    const enum format f = parse_format(text, &fields);
    const char *names[ARRAY_LEN(formats)];
    for (size_t i = 0; i < ARRAY_LEN(formats); i++)
        names[i] = formats[i].name;
    if (f == FORMAT_DEFAULT) {
        const char *near = near_word(cli_copy(c, (struct str){text, strcspn(text, "([")}), names, ARRAY_LEN(names));
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' is none of json, yaml, table, table(FIELD,...), value(FIELD,...), none%s%s%s", text,
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    }
    if (strchr(text, '(') && text[strlen(text) - 1] != ')')
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s': a closing ) is missing", text);
    if (f == FORMAT_VALUE && !fields.n)
        return err_set(e, ERR_INVALID_ARGUMENT, "'%s' names no field; write for example value(name)", text);
    return 0;
}

bool cli_format_default(const struct cli *c) { return c->format == NULL; }

bool cli_format_own(const struct cli *c)
{
    struct str fields;
    return cli_format_default(c) || (parse_format(c->format, &fields) == FORMAT_TABLE && !fields.n);
}

static void print_json(const struct jv *v)
{
    fputs(jv_write(v, true), stdout);
    putchar('\n');
}

/* ---- readable text ---- */

static void print_scalar(const struct jv *v)
{
    const char *text = jv_show(v);
    const bool plain = *text && !strpbrk(text, "\n\"'#{}[]&*!|>%@`") && !strstr(text, ": ") && !isspace((unsigned char)*text) &&
                       *text != '-' && text[strlen(text) - 1] != ':';
    if (plain) {
        fputs(text, stdout);
        return;
    }
    struct buf b;
    buf_init(&b, CLI_MEMORY_MAX);
    if (json_string_add(&b, str_of(text)) == 0)
        fwrite(buf_data(&b), 1, buf_len(&b), stdout);
    buf_fini(&b);
}

/* `first` is where the next line begins already (after "- "). */
static void print_text(const struct jv *v, int indent, bool first)
{
    for (const struct jv *i = jv_first(v); i; i = jv_next(i), first = false) {
        if (!first)
            printf("%*s", indent, "");
        if (jv_is_array(v))
            printf("- ");
        else
            printf("%s:", jv_key(i));
        const bool nested = jv_is_object(i) || jv_is_array(i);
        if (nested && !jv_first(i)) {
            printf("%s\n", jv_is_object(i) ? " {}" : " []");
        } else if (nested && jv_is_array(v)) {
            print_text(i, indent + 2, true);
        } else if (nested) {
            putchar('\n');
            print_text(i, jv_is_object(i) ? indent + 2 : indent, false);
        } else {
            if (!jv_is_array(v))
                putchar(' ');
            print_scalar(i);
            putchar('\n');
        }
    }
}

static void print_readable(const struct jv *v)
{
    if (!jv_is_object(v) && !jv_is_array(v))
        printf("%s\n", jv_show(v));
    else if (jv_first(v))
        print_text(v, 0, false);
    else
        puts(jv_is_object(v) ? "{}" : "[]");
}

/* ---- tables ---- */

/* Characters, not bytes, so that the columns line up. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_row(const char *const *cells, const size_t *widths, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fputs(cells[i], stdout);
        if (i + 1 < n)
            printf("%*s", (int)(widths[i] - width_of(cells[i]) + CELL_GAP), "");
    }
    putchar('\n');
}

static void print_table(struct cli *c, const struct jv *array, const struct column *cols, size_t n)
{
    const size_t rows = jv_count(array);
    const char **cells = cli_alloc(c, (rows + 1) * n * sizeof *cells);
    size_t widths[COLUMNS_MAX] = {0}, r = 1;
    for (size_t i = 0; i < n; i++)
        cells[i] = cols[i].header;
    for (const struct jv *row = jv_first(array); row; row = jv_next(row), r++)
        for (size_t i = 0; i < n; i++)
            cells[r * n + i] = cell(c, row, &cols[i]);
    for (size_t k = 0; k < r * n; k++)
        if (width_of(cells[k]) > widths[k % n])
            widths[k % n] = width_of(cells[k]);
    for (size_t k = 0; k < r; k++)
        print_row(cells + k * n, widths, n);
}

static void print_values(struct cli *c, const struct jv *array, const struct column *cols, size_t n)
{
    for (const struct jv *row = jv_first(array); row; row = jv_next(row))
        for (size_t i = 0; i < n; i++)
            printf("%s%s", cell(c, row, &cols[i]), i + 1 < n ? "\t" : "\n");
}

/* ---- what commands call ---- */

static void show(struct cli *c, const struct jv *v, bool list)
{
    struct column cols[COLUMNS_MAX];
    struct str fields;
    enum format f = parse_format(c->format, &fields);
    if (f == FORMAT_DEFAULT)
        f = list && c->command->columns ? FORMAT_TABLE : FORMAT_YAML;
    if (f == FORMAT_TABLE && !fields.n)
        fields = str_of(c->command->columns ? c->command->columns : "name.basename():label=NAME");
    const struct jv *array = v;
    if (!list) {
        struct jv *one = jv_array();
        jv_add(one, jv_copy(v));
        array = one;
    }
    const size_t n = parse_fields(c, fields, cols);
    switch (f) {
    case FORMAT_JSON:
        print_json(v);
        break;
    case FORMAT_VALUE:
        print_values(c, array, cols, n);
        break;
    case FORMAT_TABLE:
        if (jv_first(array))
            print_table(c, array, cols, n);
        else
            cli_say(c, "Listed 0 items.");
        break;
    case FORMAT_YAML:
    case FORMAT_DEFAULT:
        if (list) /* documents, as gcloud separates them */
            for (const struct jv *i = jv_first(array); i; i = jv_next(i)) {
                puts("---");
                print_readable(i);
            }
        else
            print_readable(v);
        break;
    case FORMAT_NONE:
        break;
    }
}

void cli_show(struct cli *c, const struct jv *resource) { show(c, resource, false); }

void cli_show_made(struct cli *c, const struct jv *resource)
{
    if (!cli_format_default(c))
        show(c, resource, false);
}

void cli_show_list(struct cli *c, const struct jv *array) { show(c, array, true); }
