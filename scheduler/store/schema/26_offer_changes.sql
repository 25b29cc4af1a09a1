-- Whether connections or resources changed: one row to read, twenty times a second by every busy process.

CREATE TABLE offer_changes (
    only_row boolean PRIMARY KEY DEFAULT true CONSTRAINT offer_changes_is_one_row CHECK (only_row),
    changes  bigint  NOT NULL                 -- rises with every change of connections and resources
);
INSERT INTO offer_changes (changes) VALUES (1);

CREATE FUNCTION count_offer_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE offer_changes SET changes = changes + 1;
    RETURN NULL;
END $$;

-- At the commit: its row is the last that a transaction locks, so two of them wait for each other but never in a circle.
CREATE CONSTRAINT TRIGGER connections_count_change AFTER INSERT OR UPDATE OR DELETE ON connections
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_offer_change();
CREATE CONSTRAINT TRIGGER resources_count_change AFTER INSERT OR UPDATE OR DELETE ON resources
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_offer_change();
